package evapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"time"
)

// These are the answers of imc.cfg itself to copies and to OPTIONS.
const (
	// otherWay answers a copy for a user with more than one device, or with one that is not
	// reached by UDP. The copy goes on a lane that reports the outcome of each device, as
	// Kamailio, which knows nothing of retries, cannot choose the best of several; and on which
	// nothing is repeated over TCP, as repetitions there are messages of their own (RFC 3261,
	// 17.2.2: timer J).
	otherWay = "imc other way"
	// nameWay begins the answer to a copy for a device whose contact has a name for a host;
	// after it stand host and port, which may be empty, with a colon between. As an answer to
	// a copy with a Dest it is not imc.cfg's.
	nameWay = "imc name "
	// knownHere begins the answer to OPTIONS if imc.cfg knows the port that our copies come
	// from; notHere answers a copy if it does not.
	knownHere = "imc "
	notHere   = "Not from here now"
)

// featureOwn says that ownHeader is in such answers.
const featureOwn = "own"

// ownHeader marks the answers to copies that are imc.cfg's own. Its value is made of a
// secret that no device learns: any device can say the words above.
const ownHeader = "X-IMC-Own"

// noViaLogged is the time between log lines about responses without Via.
const noViaLogged = time.Hour

// learn takes the features of a welcome that concern copies by SIP.
func (l *sipLink) learn(w *Welcome) {
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

// noVia logs that responses have no Via. It is called with mu held.
func (l *sipLink) noVia(now time.Time) {
	if !l.noViaAt.IsZero() && now.Sub(l.noViaAt) < noViaLogged {
		return
	}
	l.noViaAt = now
	l.c.cfg.Log.Error().Str("kamailio", l.c.cfg.Name).
		Msg("responses to MESSAGE come without Via: is topos loaded in Kamailio? Rooms do not work with it")
}
