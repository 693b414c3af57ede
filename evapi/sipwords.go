package evapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"time"
)

// What imc.cfg answers to copies by itself, and how that is told from what a device says.

const (
	// otherWay is the answer of imc.cfg to a copy for a user with more than one
	// device, or with one that is not reached by UDP. It goes on a lane on which
	// the outcome of each device is known, as what is best of several is not for
	// Kamailio to choose, which knows nothing of retries; and on which nothing is
	// repeated over TCP, as repetitions there are messages of their own (RFC
	// 3261, 17.2.2: timer J).
	otherWay = "imc other way"
	// nameWay begins the answer of imc.cfg to a copy for a device whose contact has a name
	// for a host; behind it stand host and port, which may be empty, with a colon between.
	// To a copy that has a Dest already it is no answer of imc.cfg's.
	nameWay = "imc name "
	// knownHere begins the answer of imc.cfg to OPTIONS, if it knows where our copies
	// come from; notHere is its answer to a copy if it does not.
	knownHere = "imc "
	notHere   = "Not from here now"
)

// noViaLogged is how often it is logged that responses have no Via.
const noViaLogged = time.Hour

// ownHeader is in those answers to copies that are imc.cfg's own. Its value is made of a
// secret that no device learns: the words alone could be any device's.
const ownHeader = "X-IMC-Own"

// knows takes what a welcome says of imc.cfg's own answers.
func (l *sipLink) knows(w *Welcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mark = ""
	l.direct = slices.Contains(w.Features, LaneDirect.String())
	if slices.Contains(w.Features, featureOwn) {
		sum := sha256.Sum256([]byte(w.HeaderSecret))
		l.mark = hex.EncodeToString(sum[:])
	}
}

// isOwn reports whether a response is imc.cfg's own, and not a device's. It is called with
// mu held.
func (l *sipLink) isOwn(r *sipReply) bool {
	return l.mark == "" || subtle.ConstantTimeCompare(headerIn(r.head, ownHeader), []byte(l.mark)) == 1
}

// noVia says what is wrong with a Kamailio whose responses have no Via. It is called with
// mu held.
func (l *sipLink) noVia(now time.Time) {
	if !l.noViaAt.IsZero() && now.Sub(l.noViaAt) < noViaLogged {
		return
	}
	l.noViaAt = now
	l.c.cfg.Log.Error().Str("kamailio", l.c.cfg.Name).
		Msg("responses to MESSAGE come without Via: is topos loaded in Kamailio? Rooms do not work with it")
}
