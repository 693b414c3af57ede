package e2e

import "strings"

// command makes the step of a command: words are its name and arguments before
// the room.
func (g *generator) command(sender, room string, words ...string) step {
	target := room
	if g.chance(30) {
		target = pick(g, append([]string{manager}, rooms...))
	}
	arg := ""
	if target != room || g.chance(15) {
		arg = g.spellRoom(room, target)
	}
	words[0] = g.spellWord(words[0])
	for i, w := range words[1:] {
		words[i+1] = g.spellUser(w, target)
	}
	if arg != "" {
		words = append(words, arg)
	}
	return g.send(sender, target, "#"+strings.Join(words, pick(g, []string{" ", " ", "\t", "  "})))
}

// send makes a step with some spelling of the sender and the request URI.
func (g *generator) send(sender, target, body string) step {
	s := step{sender: sender, uri: "sip:" + target, body: body}
	switch g.IntN(12) {
	case 0:
		s.from = "<sip:" + strings.ToUpper(sender) + "@ONE.example>"
	case 1:
		s.from = "\"Al \\\"the\\\" <x>\" <sip:" + sender + "@" + home + ":5070;x=y>"
	case 2:
		s.uri = "sip:" + strings.ToUpper(target)
	case 3:
		s.uri += ":5060;x=y"
	}
	return s
}

func (g *generator) spellWord(w string) string {
	switch g.IntN(8) {
	case 0:
		return strings.ToUpper(w)
	case 1:
		return strings.ToUpper(w[:1]) + w[1:]
	}
	return w
}

func (g *generator) spellRoom(room, target string) string {
	name, host, _ := strings.Cut(room, "@")
	if strings.HasSuffix(target, "@"+host) && g.chance(50) {
		return pick(g, []string{name, strings.ToUpper(name)})
	}
	return pick(g, []string{room, "sip:" + room, "sip:" + room + ":5060;x=1", strings.ToUpper(name) + "@" + host})
}

// spellUser spells a user's name. A bare one in a room of the other domain is
// somebody else.
func (g *generator) spellUser(name, target string) string {
	if strings.HasSuffix(target, "@"+home) && g.chance(50) || g.chance(10) {
		return pick(g, []string{name, strings.ToUpper(name)})
	}
	full := name + "@" + home
	return pick(g, []string{full, "sip:" + full, "sips:" + full, "sip:" + full + ":5060;transport=udp"})
}
