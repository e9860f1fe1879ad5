// Command meetwire runs all of Meetwire in one process.
package main

import (
	"os"

	"github.com/meetwire/meetwire/services/meetwire"
)

func main() { os.Exit(meetwire.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
