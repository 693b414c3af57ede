package evapi

import "slices"

// Topos says how a Kamailio treats its module topos, which takes the Via out of responses to
// MESSAGE: they match no request then, and requests are sent again for ever.
type Topos uint8

const (
	// ToposNone: it is not loaded, or an older imc.cfg does not say.
	ToposNone Topos = iota
	// ToposKept: it is loaded, and imc.cfg keeps MESSAGE from it.
	ToposKept
	// ToposOwn: it is loaded, and event routes of the operator's decide (IMC_OWN_TOPOS).
	ToposOwn
)

// toposOf reads the features of a welcome.
func toposOf(features []string) Topos {
	switch {
	case slices.Contains(features, "topos-own"):
		return ToposOwn
	case slices.Contains(features, "topos"):
		return ToposKept
	}
	return ToposNone
}
