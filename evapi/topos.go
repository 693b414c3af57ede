package evapi

import "slices"

// Topos says what a Kamailio does about its module topos, which takes the Via out of responses to MESSAGE: nobody
// knows them then, and requests are sent again for ever.
type Topos uint8

const (
	// ToposNone: it is not loaded, or imc.cfg is older and does not say.
	ToposNone Topos = iota
	// ToposKept: it is loaded, and imc.cfg keeps MESSAGE from it.
	ToposKept
	// ToposOwn: it is loaded, and that is left to event routes of the operator's (IMC_OWN_TOPOS).
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

// sayTopos logs it when it is another than before.
func (c *Conn) sayTopos(features []string) {
	is := toposOf(features)
	if is == c.lastTopos {
		return
	}
	c.lastTopos = is
	switch is {
	case ToposKept:
		c.cfg.Log.Info().Str("kamailio", c.cfg.Name).
			Msg("topos is loaded in Kamailio: imc.cfg keeps MESSAGE outside of dialogs from it")
	case ToposOwn:
		c.cfg.Log.Warn().Str("kamailio", c.cfg.Name).
			Msg("topos is loaded in Kamailio, and imc.cfg is told to leave MESSAGE to it: rooms do not work with that")
	}
}
