package engine

import (
	"maps"
	"strings"
	"time"
	"unicode"

	"imcd/engine/store"
)

// Commands about how members behave. Only owners act on admins, and nobody on owners; operators do on all.

// maxWhy bounds a reason or a warning, in characters.
const maxWhy = 200

// term reads the text behind a user: for how long, and why; both may be left out.
func (c *call) term() (until time.Time, why string, r *refusal) {
	why = c.req.text
	word, rest := why, ""
	if end := strings.IndexFunc(why, unicode.IsSpace); end >= 0 {
		word, rest = why[:end], why[end:]
	}
	switch d, ok := store.ReadTerm(word); {
	case ok:
		until, why = c.shard.now.Add(d), rest
	case word != "" && word[0] >= '0' && word[0] <= '9':
		return until, "", refuseArguments("'" + clip(word) + "' is no time like 10m, 2h or 7d")
	}
	why, err := plainText(why, maxWhy)
	if err != nil {
		return until, "", refuseArguments(err.Error())
	}
	return until, why, nil
}

// culprit reads the user argument: a member that the sender may act on.
func (c *call) culprit() (*member, *refusal) {
	m, r := c.target()
	switch {
	case r != nil:
		return nil, r
	case m.invited():
		return nil, refuseUser(c.show(m.name()))
	}
	return m, c.mayActOn(m)
}

// mayActOn refuses to moderate owners, and admins by others than owners.
func (c *call) mayActOn(m *member) *refusal {
	switch {
	case c.service():
		return nil
	case m.owner():
		return &refusal{code: 403, detail: rcProtected, reason: "Owners cannot be moderated",
			notice: "owner_moderated", vars: vars{"user": c.show(m.name())}}
	case m.rights() && !c.owns():
		return forbid("Only for owners", "need_owner")
	}
	return nil
}

// because is a notice with its reason, which may be empty.
func (c *call) because(notice string, v vars, why string) string {
	text := c.format(notice, v)
	if why != "" {
		text += c.format("because", vars{"why": why})
	}
	return text
}

// inform tells m, and the others, what was done to m.
func (c *call) inform(m *member, toMember, toRoom string, v vars, why string) {
	all := vars{"user": c.show(m.name())}
	maps.Copy(all, v)
	text := c.because(toMember, all, why)
	c.keepText(m.name(), text, say{to: m.name()})
	c.speak(c.because(toRoom, all, why), say{skip: m.key})
}

func runMute(c *call) *refusal {
	m, r := c.culprit()
	if r != nil {
		return r
	}
	until, why, r := c.term()
	if r != nil {
		return r
	}
	if r := c.putRule(ruleMute, m.key, until); r != nil {
		return r
	}
	c.acted(ruleMute, m.uri, until, why)
	c.inform(m, "you_muted", "muted", vars{"until": c.until(until)}, why)
	return nil
}

func runUnmute(c *call) *refusal {
	m, r := c.culprit()
	if r != nil {
		return r
	}
	if _, ok := c.room.rules.holds(ruleMute, m.key, c.shard.now); !ok {
		c.answer("not_muted", vars{"user": c.show(m.name())})
		return nil
	}
	c.dropRule(rule{ruleMute, m.key})
	c.acted("unmute", m.uri, time.Time{}, "")
	c.inform(m, "you_unmuted", "unmuted", nil, "")
	return nil
}

func runVoice(c *call) *refusal {
	m, r := c.target()
	switch {
	case r != nil:
		return r
	case m.invited():
		return refuseUser(c.show(m.name()))
	}
	if !c.room.hasVoice(m, c.shard.now) {
		if r := c.putRule(ruleVoice, m.key, time.Time{}); r != nil {
			return r
		}
		c.acted(ruleVoice, m.uri, time.Time{}, "")
	}
	c.tellAbout(m, "voiced", vars{"user": c.show(m.name())})
	return nil
}

func runUnvoice(c *call) *refusal {
	m, r := c.target()
	if r != nil {
		return r
	}
	if !c.room.hasVoice(m, c.shard.now) {
		c.answer("no_voice", vars{"user": c.show(m.name())})
		return nil
	}
	c.dropRule(rule{ruleVoice, m.key})
	c.acted("unvoice", m.uri, time.Time{}, "")
	c.tellAbout(m, "unvoiced", vars{"user": c.show(m.name())})
	return nil
}

func runWarn(c *call) *refusal {
	m, r := c.culprit()
	if r != nil {
		return r
	}
	why, err := plainText(c.req.text, maxWhy)
	switch {
	case err != nil:
		return refuseArguments(err.Error())
	case why == "":
		return refuseArguments("Argument missing")
	}
	c.acted("warn", m.uri, time.Time{}, why)
	c.tellKept(m.name(), "you_warned", vars{"why": why})
	c.answer("warned", vars{"user": c.show(m.name())})
	return nil
}

// runBan bans a user, who need not be in the room, or all users of a domain.
func runBan(c *call) *refusal {
	who, matches, r := c.banned()
	if r != nil {
		return r
	}
	until, why, r := c.term()
	if r != nil {
		return r
	}
	var out []*member
	for _, m := range c.room.order {
		if !matches(m) {
			continue
		}
		if r := c.mayActOn(m); r != nil {
			return r
		}
		out = append(out, m)
	}
	if r := c.putRule(ruleBan, who, until); r != nil {
		return r
	}
	c.acted(ruleBan, actOn(who), until, why)
	v := vars{"user": c.showRule(who), "until": c.until(until)}
	for _, m := range out {
		c.drop(m)
		c.keepText(m.name(), c.because("you_banned", v, why), say{to: m.name()})
	}
	if c.room.full() == 0 && len(out) > 0 {
		c.destroy()
		return nil
	}
	c.speak(c.because("banned", v, why), say{})
	for _, m := range out {
		if m.owner() {
			c.inherit(m)
		}
	}
	return nil
}

// banned reads the argument of a ban: a user or *@domain. matches reports whether a member is meant.
func (c *call) banned() (who string, matches func(*member) bool, r *refusal) {
	word := c.req.args[0]
	if host, ok := strings.CutPrefix(word, everybody); ok {
		if !plainHost(host) {
			return "", nil, refuseArguments("Bad domain '" + clip(host) + "'")
		}
		return strings.ToLower(word), func(m *member) bool { return equalFold(m.name().Host, host) }, nil
	}
	user, r := c.user(0)
	if r != nil {
		return "", nil, r
	}
	key := user.Key()
	return key, func(m *member) bool { return m.key == key }, nil
}

// actOn is how the user or the domain of a rule is kept with an act.
func actOn(who string) string {
	if strings.HasPrefix(who, everybody) {
		return who
	}
	return "sip:" + who
}

// showRule names the user or the domain of a rule for people.
func (c *call) showRule(who string) string {
	user, host, _ := strings.Cut(who, "@")
	if user == "*" {
		return who
	}
	return c.show(store.Name{User: user, Host: host})
}

func runUnban(c *call) *refusal {
	who, _, r := c.banned()
	if r != nil {
		return r
	}
	if _, ok := c.room.rules.holds(ruleBan, who, c.shard.now); !ok {
		return &refusal{code: 404, detail: rcNoUser, reason: "Not banned", notice: "not_banned",
			vars: vars{"user": c.showRule(who)}}
	}
	c.dropRule(rule{ruleBan, who})
	c.acted("unban", actOn(who), time.Time{}, "")
	c.broadcast("unbanned", vars{"user": c.showRule(who)})
	return nil
}

func runBans(c *call) *refusal {
	var items []string
	for _, who := range c.room.rules.of(ruleBan, c.shard.now) {
		until, _ := c.room.rules.holds(ruleBan, who, c.shard.now)
		items = append(items, c.showRule(who)+c.until(until))
	}
	if len(items) == 0 {
		c.answer("bans_none", nil)
		return nil
	}
	c.list(c.req.from, "bans_header", inLine, items, nil)
	return nil
}
