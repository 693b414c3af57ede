package e2e

import (
	"slices"
	"strings"

	"imcd/engine/store"
)

// refusalVoice is the sender of the notice of a refusal of imcd.
func refusalVoice(sc *scene) string {
	if at, ok := roomArg[sc.cmd]; ok && at < len(sc.args) && isBad(sc.args[at]) {
		return sc.target
	}
	return sc.voice()
}

func isBad(arg string) bool { return slices.Contains(badURIs, arg) || slices.Contains(unstorable, arg) }

// roleFlags are the roles that modify knows.
var roleFlags = map[string]int{"owner": store.MemberOwner, "admin": store.MemberAdmin, "member": 0}

func roleOf(flag int) string {
	for name, f := range roleFlags {
		if f == flag {
			return name
		}
	}
	return "member"
}

// modifies reports whether modify is carried out.
func modifies(sc *scene) bool {
	if sc.tooFew() || sc.rs == nil || !sc.member() || !sc.mine.rights() || !sc.known || !sc.theirs.inside() {
		return false
	}
	flag, ok := roleFlags[strings.ToLower(sc.args[1])]
	if !ok {
		return false
	}
	owners := 0
	for _, p := range sc.rs.members {
		owners += p.flag & store.MemberOwner
	}
	wasOwner, isOwner := sc.theirs.flag&store.MemberOwner != 0, flag == store.MemberOwner
	if (wasOwner || isOwner) && sc.mine.flag&store.MemberOwner == 0 {
		return false
	}
	return !wasOwner || isOwner || owners > 1
}

func expectModify(sc *scene, o *outcome) {
	o.hear(sc.me, sc.target, -1) // that it is unknown
	if !modifies(sc) {
		o.hear(sc.me, sc.voice(), 1)
		o.ok = false
		return
	}
	for _, name := range sc.rs.audience() {
		o.hear(name, sc.room, 1)
	}
}

// expectSaid is for what imcd passes on and the module answers.
func expectSaid(sc *scene, o *outcome) {
	o.hear(sc.me, sc.target, -1) // the help, or that it is unknown
	if !sc.member() {
		o.hear(sc.me, sc.voice(), 1)
		o.ok = false
		return
	}
	for _, name := range sc.rs.audience() {
		if name != sc.me {
			o.hear(name, sc.room, 1)
		}
	}
}

// hearDenial adds who gets the notice that the sender declined: the inviter; the owners,
// if only the module knew who that was.
func hearDenial(sc *scene, o *outcome) {
	if sc.mine.inviter != "" {
		o.hear(sc.mine.inviter, sc.room, 1)
		return
	}
	for name, p := range sc.rs.members {
		if isOwner(p, true) {
			o.hear(name, sc.room, 1)
		}
	}
}

func isUser(key, name string) bool { return strings.HasPrefix(key, name+"@") }
