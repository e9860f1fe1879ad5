// Command ingest takes events in and makes a delivery for each webhook that asked.
package main

import (
	"os"

	"github.com/meetwire/meetwire/services/ingest"
)

func main() { os.Exit(ingest.Main(os.Args[1:], os.Stderr)) }
