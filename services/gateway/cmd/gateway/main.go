// Command gateway serves Meetwire's REST interface.
package main

import (
	"os"

	"github.com/meetwire/meetwire/services/gateway"
)

func main() { os.Exit(gateway.Main(os.Args[1:], os.Stderr)) }
