package convo

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxLine bounds a line of a file, in bytes.
const maxLine = 1 << 20

// Parse reads the conversations of a file. The name is for errors.
func Parse(name string, text []byte) ([]*Conversation, error) {
	p := &parser{file: name}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		p.line++
		if err := p.read(lines.Text()); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, p.line, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, c := range p.all {
		for i := range c.Steps {
			if s := &c.Steps[i]; s.Kind == Say && s.Reply.Code == 0 {
				return nil, fmt.Errorf("%s:%d: no reply (= CODE) given", name, s.Line)
			}
		}
	}
	return p.all, nil
}

type parser struct {
	file string
	line int
	all  []*Conversation
}

func (p *parser) read(line string) error {
	text := strings.TrimSpace(line)
	indented := strings.HasPrefix(line, " ")
	switch {
	case text == "" || !indented && text[0] == '#':
		return nil
	case strings.HasPrefix(line, "== "):
		p.all = append(p.all, &Conversation{File: p.file, Line: p.line, Title: strings.TrimSpace(line[3:]),
			Settings: make(map[string]string)})
		return nil
	case len(p.all) == 0:
		return fmt.Errorf("%q before the first conversation (== TITLE)", text)
	}
	c := p.all[len(p.all)-1]
	switch {
	case indented && len(c.Steps) == 0:
		return fmt.Errorf("%q belongs to no step", text)
	case indented:
		return p.detail(c, &c.Steps[len(c.Steps)-1], text)
	}
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "set":
		key, value, ok := strings.Cut(rest, " ")
		if !ok {
			return fmt.Errorf("want: set KEY VALUE")
		}
		c.Settings[key] = strings.TrimSpace(value)
		return nil
	case "user":
		return p.user(c, rest)
	}
	return p.step(c, text)
}

// user reads: NAME[@DOMAIN] ["DISPLAY NAME"] [away] [tcp]
func (p *parser) user(c *Conversation, text string) error {
	name, rest, _ := strings.Cut(text, " ")
	u := User{Domain: DefaultDomain}
	var domain string
	if u.Name, domain, _ = strings.Cut(name, "@"); domain != "" {
		u.Domain = domain
	}
	if quoted, err := strconv.QuotedPrefix(rest); err == nil {
		if u.Display, err = strconv.Unquote(quoted); err != nil {
			return err
		}
		rest = rest[len(quoted):]
	}
	for word := range strings.FieldsSeq(rest) {
		switch word {
		case "away":
			u.Away = true
		case "tcp":
			u.TCP = true
		default:
			return fmt.Errorf("want: user NAME[@DOMAIN] [\"DISPLAY NAME\"] [away] [tcp]")
		}
	}
	c.Users = append(c.Users, u)
	return nil
}

func (p *parser) step(c *Conversation, text string) error {
	s := Step{Line: p.line, Text: text}
	words := strings.Fields(text)
	head, list, _ := strings.Cut(text, ":")
	switch {
	case words[0] == "note":
		s.Kind, s.Text = Note, strings.TrimSpace(text[len("note"):])
	case text == "restart":
		s.Kind = Restart
	case len(words) == 2 && words[0] == "silence":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		s.Kind, s.Time = Silence, d
	case head == "rooms":
		s.Kind, s.List = Rooms, uris(list)
	case words[0] == "members":
		head, list, _ = strings.Cut(text, ": ")
		s.Kind, s.Room = Members, uri(strings.TrimSuffix(strings.TrimSpace(head[len("members"):]), ":"))
		s.List = uris(list)
	case len(words) > 3 && words[1] == "to" || len(words) == 3 && words[1] == "to" && strings.HasSuffix(text, ":"):
		if err := s.say(text); err != nil {
			return err
		}
	case len(words) == 2 && words[1] == "registers":
		s.Kind, s.User = Register, words[0]
	case len(words) == 2 && words[1] == "unregisters":
		s.Kind, s.User = Unregister, words[0]
	case len(words) == 3 && words[1] == "answers":
		code, err := strconv.Atoi(words[2])
		if err != nil {
			return err
		}
		s.Kind, s.User, s.Code = Answer, words[0], code
	default:
		return fmt.Errorf("%q is no step", text)
	}
	if s.User != "" && c.user(s.User) == nil {
		return fmt.Errorf("there is no user %q", s.User)
	}
	c.Steps = append(c.Steps, s)
	return nil
}

// say reads: NAME to ROOM: BODY
func (s *Step) say(text string) (err error) {
	s.Kind = Say
	head, body, ok := strings.Cut(text+" ", ": ")
	if !ok {
		return fmt.Errorf("want: NAME to ROOM: BODY")
	}
	user, room, _ := strings.Cut(head, " to ")
	s.User, s.Room = user, uri(room)
	s.Request.Body, err = parseBody(body)
	return err
}

// user returns the user of that name, or nil.
func (c *Conversation) user(name string) *User {
	for i := range c.Users {
		if c.Users[i].Name == name {
			return &c.Users[i]
		}
	}
	return nil
}

// uri completes a name with scheme and domain. What begins with a scheme is
// taken as it is.
func uri(name string) string {
	if strings.HasPrefix(name, "sip:") || strings.HasPrefix(name, "sips:") {
		return name
	}
	if !strings.Contains(name, "@") {
		name += "@" + DefaultDomain
	}
	return "sip:" + name
}

func uris(text string) []string {
	var list []string
	for _, name := range strings.Fields(text) {
		list = append(list, uri(name))
	}
	return list
}
