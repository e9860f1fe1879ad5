// Command delivery sends events to webhooks, retries, and remembers.
package main

import (
	"os"

	"github.com/meetwire/meetwire/services/delivery"
)

func main() { os.Exit(delivery.Main(os.Args[1:], os.Stderr)) }
