package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"imcd/cmd/internal/convo"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
)

// printer writes a transcript.
type printer struct {
	out       io.Writer
	sent, got int
}

func (p *printer) intro(s *stack.Stack, set *settings) {
	fmt.Fprintf(p.out, "Kamailio speaks SIP on %s; imcd keeps the rooms (database: %s).\n",
		s.Kamailio().SIPAddr(), cmp.Or(hidePassword(set.dbURL), "a SQLite file"))
	fmt.Fprint(p.out, "Three SIP users have registered: alice, bob and carol. What they send (-->) is a SIP\n"+
		"MESSAGE to the room's address, and so is what they receive (<--) from it.\n")
}

func (p *printer) step(_ *convo.Conversation, s *convo.Step) {
	if s.Kind == convo.Note {
		fmt.Fprintf(p.out, "\n%s\n", s.Text)
	}
}

func (p *printer) reply(_ *convo.Conversation, s *convo.Step, code int, reason string) {
	p.sent++
	fmt.Fprintf(p.out, "\n  %-5s --> %-14s %s   (%d %s)\n", s.User, roomName(s.Room), s.Request.Body, code, reason)
}

func (p *printer) received(_ *convo.Conversation, _ *convo.Step, user string, m evapitest.Received) {
	p.got++
	lines := strings.Split(m.Text(), "\n")
	fmt.Fprintf(p.out, "  %-5s <-- %-14s %s\n", user, roomName(m.From), lines[0])
	for _, line := range lines[1:] {
		fmt.Fprintf(p.out, "  %-5s     %-14s %s\n", "", "", line)
	}
}

func roomName(uri string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(uri, "sip:"), "@")
	return name
}

// hidePassword leaves the user and password out of a db_url.
func hidePassword(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return url
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	return scheme + "://" + rest
}
