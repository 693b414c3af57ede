// Package kamailiocfg holds imcd's part of Kamailio's configuration: the
// drop-in imc.cfg and the complete demo.cfg, for the programs and tests that
// start a Kamailio of their own.
package kamailiocfg

import (
	"embed"
	"fmt"
)

//go:embed imc.cfg demo.cfg peer.cfg bench.cfg README.md
var files embed.FS

// Names of the files in this package.
const (
	IMC    = "imc.cfg"   // the drop-in
	Demo   = "demo.cfg"  // a complete configuration that includes it
	Peer   = "peer.cfg"  // Kamailio's own imc module, for comparisons
	Bench  = "bench.cfg" // all that make bench compares
	Readme = "README.md" // how to insert the drop-in
)

// File returns the content of one of the files named above. It panics on
// another name: what is embedded is known when the program is built.
func File(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("kamailiocfg: %v", err))
	}
	return string(b)
}
