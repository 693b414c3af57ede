package e2e

import (
	"slices"
	"strings"

	"imcd/engine/store"
)

// rule is one explained difference. The module's outcome of a step, changed by
// all rules that apply to it, must be exactly what imcd does.
type rule struct {
	name   string
	reason string
	// when tells from the scene and the module's own outcome whether the
	// sides differ so.
	when func(sc *scene, module outcome) bool
	// expect changes the module's outcome into imcd's.
	expect func(sc *scene, o *outcome)
	// onModule and onImcd, if not nil, are what that side alone does after the
	// step so that both go on from the same state. What they show counts as
	// part of the step.
	onModule, onImcd func(sc *scene) step
}

// ruleTable lists all differences that are meant to be. Their order matters: a
// later one sees what the earlier ones expect.
func ruleTable() []rule {
	return slices.Concat(refusalRules(), joinRules(), invitationRules(), memberRules(), listRules(), argumentRules())
}

func refusalRules() []rule {
	return []rule{{
		name:   "refusals have a notice",
		reason: "The module only logs why it does nothing; imcd says so to the sender, from the room if there is one.",
		when:   func(_ *scene, m outcome) bool { return !m.ok },
		expect: func(sc *scene, o *outcome) { o.hear(sc.me, refusalVoice(sc), 1) },
	}, {
		name: "an unknown command is refused",
		reason: "Both tell the sender; imc_manager() then returns success, imcd the -130 that the module's " +
			"documentation names.",
		when:   func(sc *scene, _ outcome) bool { return sc.cmd == isUnknown },
		expect: func(_ *scene, o *outcome) { o.ok = false },
	}, {
		name:   "what has no letter behind the command character is said to the room",
		reason: "Nobody means a command by #1, and ## is how to say #. The module calls it unknown.",
		when:   func(sc *scene, _ outcome) bool { return sc.cmd == isSaid },
		expect: expectSaid,
	}, {
		name: "modify is known",
		reason: "5.6.3 does not have the command, later versions and imcd do. The generator takes every change of a " +
			"role back in the next step.",
		when:   func(sc *scene, _ outcome) bool { return sc.cmd == "modify" },
		expect: expectModify,
	}, {
		name: "a body that is no text is no command",
		reason: "The module takes any body that begins with the command character for a command; an image may begin " +
			"so by chance, and imcd passes it on.",
		when:   func(sc *scene, _ outcome) bool { return sc.contentType == "image/png" },
		expect: expectSaid,
	}, {
		name:   "nobody gets a notice that something else than a text was refused",
		reason: "It may be a program's, which would answer.",
		when: func(sc *scene, _ outcome) bool {
			return sc.contentType != "" && !strings.HasPrefix(sc.contentType, "text/")
		},
		expect: func(_ *scene, o *outcome) {
			if !o.ok {
				o.heard = heard{}
			}
		},
	}}
}

// joins reports whether it is that command about a room that exists.
func joins(sc *scene, cmd string) bool { return sc.cmd == cmd && sc.rs != nil }

func joinRules() []rule {
	return []rule{{
		name:   "create of an existing room is answered by that room",
		reason: "The module answers as the request URI, whichever room is named; imcd as the room.",
		when: func(sc *scene, m outcome) bool {
			return m.ok && joins(sc, "create") && sc.room != sc.target && m.heard[[2]string{sc.me, sc.target}] > 0
		},
		expect: func(sc *scene, o *outcome) {
			o.hear(sc.me, sc.target, -1)
			o.hear(sc.me, sc.room, 1)
		},
	}, {
		name:   "create of a private room of others is refused",
		reason: "Both tell the sender that it exists; the module then returns success.",
		when:   func(sc *scene, m outcome) bool { return m.ok && joins(sc, "create") && sc.rs.private && !sc.member() },
		expect: func(_ *scene, o *outcome) { o.ok = false },
	}, {
		name: "create by an invited user joins",
		reason: "For the module an invited user is a member already; whoever is not in a public room joins it by " +
			"create. The module's user accepts afterwards.",
		when: func(sc *scene, m outcome) bool {
			return m.ok && joins(sc, "create") && !sc.rs.private && sc.invited() && !sc.checkOnCreate
		},
		expect: func(sc *scene, o *outcome) { o.hear(sc.me, sc.room, -1) },
		onModule: func(sc *scene) step {
			return sc.again(sc.room, "#accept")
		},
	}, {
		name:   "the room gets a notice of a join by an invited user",
		reason: "The module lets the user in silently, with the words that they are in the room already.",
		when:   func(sc *scene, _ outcome) bool { return joins(sc, "join") && sc.invited() },
		expect: func(sc *scene, o *outcome) {
			for _, name := range sc.rs.audience() {
				o.hear(name, sc.room, 1)
			}
		},
	}, {
		name: "an attempt to join a private room is refused, and owners and admins get a notice",
		reason: "The module tells all members, though it says to the user that the owners were notified, and returns " +
			"success.",
		when: func(sc *scene, m outcome) bool { return m.ok && joins(sc, "join") && sc.rs.private && !sc.present },
		expect: func(sc *scene, o *outcome) {
			o.ok = false
			for _, name := range sc.rs.audience() {
				if !sc.rs.members[name].rights() {
					o.hear(name, sc.room, -1)
				}
			}
		},
	}}
}

func invitationRules() []rule {
	invites := func(sc *scene, m outcome) bool { return sc.cmd == "invite" && m.ok && !isBad(sc.args[0]) }
	return []rule{{
		name:   "an invitation is confirmed",
		reason: "The module leaves the inviter without an answer.",
		when:   invites,
		expect: func(sc *scene, o *outcome) { o.hear(sc.me, sc.room, 1) },
	}, {
		name:   "the inviter gets a notice of a failed invitation",
		reason: "The module tells it to the invited user, of all people.",
		when: func(sc *scene, m outcome) bool {
			return invites(sc, m) && isUser(sc.user, declines)
		},
		expect: func(sc *scene, o *outcome) {
			o.hear(sc.me, sc.room, 1)
			o.hear(sc.user, sc.room, -1)
		},
	}, {
		name: "an invitation to somebody who is not registered waits",
		reason: "The module withdraws it, and tells the invited user so, who cannot hear it. imcd keeps it for the " +
			"next registration and tells the inviter, who takes it back afterwards.",
		when: func(sc *scene, m outcome) bool { return invites(sc, m) && isUser(sc.user, gone) },
		expect: func(sc *scene, o *outcome) {
			o.hear(sc.me, sc.room, 1)
			for _, name := range sc.rs.audience() {
				o.hear(name, sc.room, 1) // that the invitation was taken back
			}
		},
		onImcd: func(sc *scene) step { return sc.again(sc.room, "#remove "+sc.user) },
	}, {
		name:   "a declined invitation has a notice",
		reason: "The module tells nobody (its code for it is disabled); imcd tells the sender and the inviter.",
		when:   func(sc *scene, m outcome) bool { return sc.cmd == "deny" && m.ok },
		expect: func(sc *scene, o *outcome) {
			o.hear(sc.me, sc.room, 1)
			hearDenial(sc, o)
		},
	}, {
		name: "exit of an invited user is refused",
		reason: "The module drops the invitation and tells the room that somebody left who never was in it. imcd's " +
			"user declines afterwards.",
		when: func(sc *scene, m outcome) bool { return sc.cmd == "exit" && m.ok && sc.invited() },
		expect: func(sc *scene, o *outcome) {
			o.ok = false
			for _, name := range sc.rs.audience() {
				o.hear(name, sc.room, -1)
			}
			o.hear(sc.me, sc.room, 2) // the refusal, and that the invitation was declined
			hearDenial(sc, o)
		},
		onImcd: func(sc *scene) step { return sc.again(sc.room, "#deny") },
	}, {
		name:   "an invited user cannot list the members",
		reason: "The module shows them; the sender gets a message either way.",
		when:   func(sc *scene, m outcome) bool { return sc.cmd == "list" && m.ok && sc.invited() },
		expect: func(_ *scene, o *outcome) { o.ok, o.listed = false, nil },
	}}
}

func memberRules() []rule {
	return []rule{{
		name:   "the owner's exit is refused",
		reason: "Both tell the owner (owner_leave: refuse); the module then returns success.",
		when: func(sc *scene, m outcome) bool {
			return sc.cmd == "exit" && m.ok && sc.present && sc.mine.flag&store.MemberOwner != 0
		},
		expect: func(_ *scene, o *outcome) { o.ok = false },
	}, {
		name:   "who adds somebody that is not registered gets a notice",
		reason: "The module adds without a word whom messages cannot reach now.",
		when: func(sc *scene, m outcome) bool {
			return sc.cmd == "add" && m.ok && sc.mine.rights() && !sc.known && isUser(sc.user, gone) &&
				!isBad(sc.args[0])
		},
		expect: func(sc *scene, o *outcome) { o.hear(sc.me, sc.room, 1) },
	}, {
		name:   "add without the right is refused",
		reason: "Both tell the sender; the module then returns success.",
		when:   func(sc *scene, m outcome) bool { return sc.cmd == "add" && m.ok && !sc.mine.rights() },
		expect: func(_ *scene, o *outcome) { o.ok = false },
	}}
}

func listRules() []rule {
	return []rule{{
		name:   "private rooms are shown to their members only",
		reason: "The module shows all rooms to everybody.",
		when:   func(sc *scene, _ outcome) bool { return sc.cmd == "rooms" },
		expect: func(sc *scene, o *outcome) {
			o.listed = slices.DeleteFunc(o.listed, func(e string) bool {
				for name, r := range sc.before {
					short, _, _ := strings.Cut(name, "@")
					if p, in := r.members[sc.me]; e == "["+short+"]" && r.private && !(in && p.inside()) {
						return true
					}
				}
				return false
			})
		},
	}}
}

func argumentRules() []rule {
	makes := func(sc *scene, m outcome) bool {
		return (sc.cmd == "create" || sc.cmd == "join") && m.ok && len(sc.args) > 0 &&
			slices.Contains(unstorable, sc.args[0]) &&
			m.heard[[2]string{sc.me, sc.room}] > 0
	}
	return []rule{{
		name: "rooms need a name that can be stored",
		reason: "The module makes rooms whose names are longer than its tables or no SIP URI (and loses all rooms " +
			"when it cannot save them). Its user destroys the room afterwards.",
		when: makes,
		expect: func(sc *scene, o *outcome) {
			o.ok = false
			o.hear(sc.me, sc.room, -2) // that it was created, and destroyed
			o.hear(sc.me, sc.target, 1)
		},
		onModule: func(sc *scene) step { return sc.again(sc.target, "#destroy "+sc.args[0]) },
	}, {
		name:   "users need a name that can be stored",
		reason: "The module sends an invitation, which fails; imcd says what is wrong with the name.",
		when: func(sc *scene, m outcome) bool {
			return sc.cmd == "invite" && m.ok && slices.Contains(unstorable, sc.args[0])
		},
		expect: func(sc *scene, o *outcome) {
			o.ok = false
			o.hear(sc.me, sc.room, 1)
		},
	}, {
		name:   "members need a name that can be stored",
		reason: "The module adds them, and cannot save them in the end. Its user removes them afterwards.",
		when: func(sc *scene, m outcome) bool {
			return sc.cmd == "add" && m.ok && sc.mine.rights() && slices.Contains(unstorable, sc.args[0])
		},
		expect: func(sc *scene, o *outcome) {
			o.ok = false
			for _, name := range sc.rs.audience() {
				o.hear(name, sc.room, -2) // that somebody joined, and left
			}
			o.hear(sc.me, sc.room, 1)
		},
		onModule: func(sc *scene) step { return sc.again(sc.target, "#remove "+sc.args[0]) },
	}, {
		name:   "too many arguments are refused",
		reason: "The module ignores them. imcd's user repeats the command without them.",
		when:   func(sc *scene, _ outcome) bool { return sc.cut },
		expect: func(sc *scene, o *outcome) {
			o.ok = false
			o.hear(sc.me, sc.target, 1)
		},
	}}
}

// parameterRules are further differences with create_on_join 0 and
// check_on_create 1.
func parameterRules() []rule {
	return []rule{{
		name:   "join of a room that does not exist is refused",
		reason: "Both tell the sender; the module then returns success.",
		when:   func(sc *scene, m outcome) bool { return sc.cmd == "join" && m.ok && sc.rs == nil },
		expect: func(_ *scene, o *outcome) { o.ok = false },
	}, {
		name:   "create of a room that exists is refused",
		reason: "Both tell the sender; the module then returns success.",
		when:   func(sc *scene, m outcome) bool { return m.ok && joins(sc, "create") && sc.checkOnCreate },
		expect: func(_ *scene, o *outcome) { o.ok = false },
	}}
}
