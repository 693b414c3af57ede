// Package kamailiocfg holds imcd's part of Kamailio's configuration: the drop-in imc.cfg with imc-through.cfg,
// imc-peers.cfg, imc-native.cfg and imc-htable.cfg, and complete configurations, for the programs and tests that start
// a Kamailio of their own.
package kamailiocfg

import (
	"embed"
	"fmt"
)

//go:embed imc.cfg imc-through.cfg imc-peers.cfg imc-native.cfg imc-htable.cfg demo.cfg peer.cfg bench.cfg README.md
var files embed.FS

// Names of the files in this package.
const (
	IMC     = "imc.cfg"         // the drop-in
	Through = "imc-through.cfg" // included by it where IMC_THROUGH is defined
	Peers   = "imc-peers.cfg"   // included by it where IMC_PEERS is defined
	Native  = "imc-native.cfg"  // included by it where IMC_NATIVE is defined
	Htable  = "imc-htable.cfg"  // included by it where IMC_HTABLE is defined
	Demo    = "demo.cfg"        // a complete configuration that includes it
	Peer    = "peer.cfg"        // Kamailio's own imc module, for comparisons
	Bench   = "bench.cfg"       // everything that make bench compares
	Readme  = "README.md"       // how to insert the drop-in
)

// File returns the content of one of the files named above. It panics on another name: the embedded files are known
// when the program is built.
func File(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("kamailiocfg: %v", err))
	}
	return string(b)
}

// DropIn returns the files that must stand beside a kamailio.cfg that includes imc.cfg, by name. The map is the
// caller's.
func DropIn() map[string]string {
	return map[string]string{IMC: File(IMC), Through: File(Through), Peers: File(Peers), Native: File(Native),
		Htable: File(Htable)}
}
