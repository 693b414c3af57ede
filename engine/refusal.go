package engine

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"imcd/engine/store"
)

// Detail digits of the return codes: the code of a command is the base of its
// range (semantics: create -30, join -40, …) less one of these.
const (
	rcArguments   = 0 // missing, too many or bad arguments
	rcNoRoom      = 1
	rcForbidden   = 2
	rcNoUser      = 3
	rcExists      = 4
	rcProtected   = 5 // the owner is not removed and does not leave
	rcFull        = 6
	rcTooLarge    = 7
	rcLimited     = 8 // too many in too short a time
	rcUnavailable = 9
)

// Return codes that belong to no command, as imc_manager() gives them.
const (
	rcOK      = 1
	rcUnusual = -1   // no body, no usable URI
	rcParse   = -20  // starts like a command and is none
	rcUnknown = -130 // no such command
	rcMessage = -200 // base for messages
)

// refusal is why a request is not carried out: the final reply, the return code
// and the notice that the sender gets.
type refusal struct {
	code   int    // SIP status code
	detail int    // digit below the command's base
	rc     int    // return code; 0: the command's base less detail
	reason string // reason phrase
	notice string // name of the notice; empty for none
	vars   vars
	after  time.Duration // Retry-After; 0: retry_after for a 503, none for others

	unsupported string // that header of the reply; empty: none
	late        bool   // it is sent a moment later, see replyLater
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.code, r.reason) }

func refuseArguments(why string) *refusal {
	return &refusal{code: 400, detail: rcArguments, reason: why, notice: "bad_arguments", vars: vars{"why": why}}
}

// refuseBareStart is for the command character with no word right behind it; name is the
// command that comes later, empty if none does.
func refuseBareStart(start, name string) *refusal {
	why := "the name must follow the " + start + " at once"
	if name != "" {
		why = "write " + start + name + ", without a space"
	}
	return &refusal{code: 400, rc: rcParse, reason: "No command", notice: "bad_command", vars: vars{"why": why}}
}

func refuseNoRoom() *refusal {
	return &refusal{code: 404, detail: rcNoRoom, reason: "No such room", notice: "no_room"}
}

func forbid(reason, notice string) *refusal {
	return &refusal{code: 403, detail: rcForbidden, reason: reason, notice: notice}
}

func refuseUser(n string) *refusal {
	return &refusal{code: 404, detail: rcNoUser, reason: "User is not in the room",
		notice: "user_not_member", vars: vars{"user": n}}
}

func refuseExists(reason, notice string, v vars) *refusal {
	return &refusal{code: 403, detail: rcExists, reason: reason, notice: notice, vars: v}
}

func refuseUnavailable(reason string) *refusal {
	return &refusal{code: 503, detail: rcUnavailable, reason: reason, notice: "unavailable"}
}

// refuseCommit is the refusal of a request that is not stored.
func refuseCommit(err error) *refusal {
	if errors.Is(err, store.ErrInvalid) {
		return &refusal{code: 500, detail: rcUnavailable, reason: "Cannot be stored", notice: "not_stored"}
	}
	return refuseUnavailable("Database unavailable")
}

// refuseOverloaded has no notice: notices would add to the load.
func refuseOverloaded() *refusal {
	return &refusal{code: 503, detail: rcUnavailable, reason: "Overloaded"}
}

// refuseRequired is the answer to extensions that must be understood (RFC 3261 section
// 8.2.2.3): there is none here.
func refuseRequired(tags []string) *refusal {
	var named []string
	size := 0
	for _, tag := range tags {
		if size += len(tag) + 2; onlyOf(tag, tokenChars) && size <= maxUnsupported {
			named = append(named, tag)
		}
	}
	r := &refusal{code: 420, rc: rcUnusual, reason: "Bad Extension"}
	if len(named) > 0 {
		r.unsupported = strings.Join(named, ", ")
	}
	return r
}

// maxUnsupported bounds an Unsupported header (evapi.Answer).
const maxUnsupported = 256
