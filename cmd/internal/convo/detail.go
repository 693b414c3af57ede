package convo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// detail reads an indented line: of the request, the reply, or a message that
// somebody receives. Lines about a header belong to the message above them, or
// to the request if there is none.
func (p *parser) detail(c *Conversation, s *Step, text string) error {
	if !slices.Contains([]Kind{Say, Restart, Register, Silence}, s.Kind) {
		return fmt.Errorf("%q does not belong to a message", text)
	}
	word, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	last := s.last()
	switch {
	case word == "=" && s.Kind != Register:
		return s.Reply.parse(rest)
	case word == "from" && len(last) == 0:
		s.Request.From = rest
	case word == "from-bytes" && len(last) == 0:
		from, err := parseBody(rest)
		s.Request.From = string(from)
		return err
	case text == "in order":
		s.Ordered = true
	case word == "times":
		times, err := strconv.Atoi(rest)
		s.Times = times
		return err
	case word == "call-id":
		s.Request.CallID = rest
	case word == "type" && len(last) == 0:
		s.Request.Type = rest
	case word == "type":
		for i := range last {
			last[i].Type = rest
		}
	case word == "header" && len(last) == 0:
		s.Request.Headers = append(s.Request.Headers, rest)
	case word == "header":
		for i := range last {
			last[i].Headers = append(last[i].Headers, rest)
		}
	default:
		return p.expect(c, s, text)
	}
	return nil
}

// last returns what the last line about a message made, one for each user.
func (s *Step) last() []Expect {
	first := len(s.Expect)
	for first > 0 && s.Expect[first-1].Line == s.Expect[len(s.Expect)-1].Line {
		first--
	}
	return s.Expect[first:]
}

// parse reads: CODE [rc N] [part of the reason]
func (r *Reply) parse(text string) error {
	words := strings.Fields(text)
	if len(words) == 0 {
		return fmt.Errorf("want: = CODE [rc N] [REASON]")
	}
	code, err := strconv.Atoi(words[0])
	if err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	r.Code, words = code, words[1:]
	if len(words) >= 2 && words[0] == "rc" {
		r.RC, words = words[1], words[2:]
	}
	r.Reason = strings.Join(words, " ")
	return nil
}

// expect reads: NAME[,NAME…] < ROOM ["DISPLAY NAME"]: BODY
func (p *parser) expect(c *Conversation, s *Step, text string) error {
	users, rest, ok := strings.Cut(text, " < ")
	if !ok {
		return fmt.Errorf("%q: want NAME < ROOM [\"DISPLAY NAME\"]: BODY", text)
	}
	room, rest, _ := strings.Cut(rest, " ")
	e := Expect{Line: p.line}
	if strings.HasSuffix(room, ":") {
		room = strings.TrimSuffix(room, ":")
	} else {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return fmt.Errorf("display name: %w", err)
		}
		if e.Display, err = strconv.Unquote(quoted); err != nil {
			return err
		}
		if rest, ok = strings.CutPrefix(rest[len(quoted):], ":"); !ok {
			return fmt.Errorf("no colon after the display name")
		}
	}
	e.Room = uri(room)
	body, err := parseBody(rest)
	if err != nil {
		return err
	}
	e.Body = body
	for name := range strings.SplitSeq(users, ",") {
		if c.user(name) == nil {
			return fmt.Errorf("there is no user %q", name)
		}
		e.User = name
		s.Expect = append(s.Expect, e)
	}
	return nil
}
