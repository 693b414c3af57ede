package phones

import (
	"strings"
	"testing"
	"time"
)

// linphones: three Linphones with their defaults, which acknowledge each text. Each of
// them hears everything once.
func linphones(t *testing.T, s *site) {
	const room, other = "sip:chat-linphones@" + domain, "sip:chat-others@" + domain
	addr := s.Kamailio().SIPAddr()
	ann := hand(t, "ann", s.newLinphone(t, "ann", "udp", addr, false))
	ben := hand(t, "ben", s.newLinphone(t, "ben", "tcp", newCable(t, addr).addr(), false))
	cid := hand(t, "cid", s.newLinphone(t, "cid", "tls", newCable(t, s.tls).addr(), false))
	says(t, s.agent(t, "zoe"), other, "#create")

	// A room that they are not in.
	ann.tries(other, "Hallo")
	ann.gets(other, "*** You are not in room chat-others…")
	s.settle(t, ann)
	ann.tries(other, "Hallo?")
	s.settle(t, ann) // it has been said already

	ann.says(room, "#create")
	ann.gets(room, "*** Room chat-linphones created…")
	ben.says(room, "#join")
	ben.gets(room, "…")
	ann.gets(room, "*** ben has joined…")

	// An invitation, which cid has time to show.
	ann.says(room, "#invite cid")
	cid.gets(room, "*** …")
	ann.gets(room, "*** cid …")
	s.settle(t, ann, ben, cid)
	cid.says(room, "#accept")
	cid.gets(room, "…")
	ann.gets(room, "*** cid has joined…")
	ben.gets(room, "*** cid has joined…")

	for _, p := range []*phone{ann, ben, cid} {
		p.says(room, "Hallo von "+p.user)
		for _, q := range []*phone{ann, ben, cid} {
			if q != p {
				q.gets(room, "["+p.user+"]: Hallo von "+p.user)
			}
		}
	}
	s.settle(t, ann, ben, cid)
	s.sequence(t, room, 3)
	ann.says(room, "#history 8")
	if history := ann.next(room); strings.Count(history, "Hallo von ") != 3 || strings.Contains(history, "imdn") {
		t.Errorf("the history of three messages: %s", history)
	}

	ben.says(room, "#leave")
	ben.gets(room, "*** …")
	ann.gets(room, "*** ben has left…")
	cid.gets(room, "*** ben has left…")
	ann.says(room, "#remove cid")
	cid.gets(room, "*** …")
	ann.gets(room, "*** cid …")
	s.settle(t, ann, ben, cid)
	ann.says(room, "#add ben")
	ben.gets(room, "*** …")
	ann.gets(room, "*** ben …")
	ann.says(room, "#destroy")
	ann.gets(room, "*** …")
	ben.gets(room, "*** …")
	s.settle(t, ann, ben, cid)
}

// cpim: two Linphones that wrap all that they send.
func cpim(t *testing.T, s *site) {
	const room = "sip:chat-cpim@" + domain
	dan := hand(t, "dan", s.newLinphone(t, "dan", "tcp", newCable(t, s.Kamailio().SIPAddr()).addr(), true))
	eli := hand(t, "eli", s.newLinphone(t, "eli", "udp", s.Kamailio().SIPAddr(), true))
	dan.says(room, "#create")
	dan.gets(room, "*** Room chat-cpim created…")
	eli.says(room, "#join")
	eli.gets(room, "…")
	dan.gets(room, "*** eli has joined…")
	dan.says(room, "Hallo")
	eli.gets(room, "[dan]: Hallo")
	s.settle(t, dan, eli)
	s.sequence(t, room, 1)
	eli.says(room, "#list")
	if list := eli.next(room); !strings.Contains(list, "dan") {
		t.Errorf("#list shows %q", list)
	}
	eli.unregister()
	dan.says(room, "Bist du da?")
	eli.register()
	eli.getsWithin(2*time.Second, room, "[dan]: Bist du da?")
	s.settle(t, dan, eli)
	s.sequence(t, room, 2)
}
