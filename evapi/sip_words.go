package evapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
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

// ownMark is the value of ownHeader for a welcome; empty: an older imc.cfg has no such header.
func ownMark(w *Welcome) string {
	if !slices.Contains(w.Features, featureOwn) {
		return ""
	}
	sum := sha256.Sum256([]byte(w.HeaderSecret))
	return hex.EncodeToString(sum[:])
}

// isOwn reports whether a response is imc.cfg's own, and not a device's.
func (r *sipReply) isOwn(mark string) bool {
	return mark == "" || subtle.ConstantTimeCompare(headerIn(r.head, ownHeader), []byte(mark)) == 1
}

// maxHost is the length of a host name, at most (RFC 1035).
const maxHost = 255

// splitName reads the end of nameWay: "host:port" or "host:".
func splitName(name string) (host string, port uint16, ok bool) {
	host, digits, ok := strings.Cut(name, ":")
	if !ok || host == "" || len(host) > maxHost {
		return "", 0, false
	}
	for _, r := range host {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r) {
			return "", 0, false
		}
	}
	if digits == "" {
		return host, 0, true
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	return host, uint16(n), err == nil
}
