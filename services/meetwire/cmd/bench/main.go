// Command bench measures Meetwire beside a bare loop of the same work, in one run.
package main

import (
	"os"

	"github.com/meetwire/meetwire/services/meetwire/internal/bench"
)

func main() { os.Exit(bench.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
