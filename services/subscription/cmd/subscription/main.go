// Command subscription keeps organizations, API keys, triggers and webhooks.
package main

import (
	"os"

	"github.com/meetwire/meetwire/services/subscription"
)

func main() { os.Exit(subscription.Main(os.Args[1:], os.Stderr)) }
