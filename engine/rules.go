package engine

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"imcd/engine/store"
)

// Kinds of rules, as they are stored (store.SettingRow.Name).
const (
	ruleBan   = "ban"   // cannot be in the room; who may be *@domain
	ruleMute  = "mute"  // cannot write
	ruleVoice = "voice" // may write while the room is moderated
)

// maxRules bounds the rules of a room.
const maxRules = 1000

// everybody begins the pattern of all users of a domain.
const everybody = "*@"

// holds reports whether a rule is in force, and until when.
func (r rules) holds(kind, who string, now time.Time) (until time.Time, ok bool) {
	if until, ok = r[rule{kind, who}]; ok && !until.IsZero() && !now.Before(until) {
		return time.Time{}, false
	}
	return until, ok
}

// banned reports whether a user is banned, by itself or with its domain, and until when.
func (r rules) banned(user store.Name, now time.Time) (until time.Time, ok bool) {
	if len(r) == 0 {
		return time.Time{}, false
	}
	if until, ok = r.holds(ruleBan, user.Key(), now); ok {
		return until, ok
	}
	return r.holds(ruleBan, everybody+strings.ToLower(user.Host), now)
}

// muted reports whether m cannot write, and until when. Owners always can.
func (r rules) muted(m *member, now time.Time) (until time.Time, ok bool) {
	if len(r) == 0 || m.owner() {
		return time.Time{}, false
	}
	return r.holds(ruleMute, m.key, now)
}

// maySpeak reports whether m may write.
func (r *room) maySpeak(m *member, now time.Time) bool {
	if r.settings == nil && r.rules == nil {
		return true
	}
	if _, muted := r.rules.muted(m, now); muted {
		return false
	}
	return r.settings == nil || !r.settings.moderated || m.rights() || r.hasVoice(m, now)
}

func (r *room) hasVoice(m *member, now time.Time) bool {
	_, ok := r.rules.holds(ruleVoice, m.key, now)
	return ok
}

// fillRules gives r its stored rules.
func (r *room) fillRules(rows []store.SettingRow) {
	r.rules = nil
	for _, row := range rows {
		if row.Who == "" || row.Name == settingNative || row.Name == settingSession || row.Name == settingOwn {
			continue
		}
		if ms, err := strconv.ParseInt(row.Value, 10, 64); err == nil {
			r.rules = r.rules.with(rule{row.Name, row.Who}, untilOf(ms))
		}
	}
}

func (r rules) with(which rule, until time.Time) rules {
	if r == nil {
		r = make(rules)
	}
	r[which] = until
	return r
}

func untilOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// storedUntil is how a rule is stored.
func storedUntil(until time.Time) string {
	if until.IsZero() {
		return "0"
	}
	return strconv.FormatInt(until.UnixMilli(), 10)
}

// of lists whom the rules of a kind name, sorted.
func (r rules) of(kind string, now time.Time) []string {
	var list []string
	for which := range r {
		if _, ok := r.holds(which.kind, which.who, now); ok && which.kind == kind {
			list = append(list, which.who)
		}
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Compare(a, b) })
	return list
}

// putRule makes a rule, and forgets those that have ended.
func (c *call) putRule(kind, who string, until time.Time) *refusal {
	for which := range c.room.rules {
		if _, ok := c.room.rules.holds(which.kind, which.who, c.shard.now); !ok {
			c.dropRule(which)
		}
	}
	if _, has := c.room.rules[rule{kind, who}]; !has && len(c.room.rules) >= maxRules {
		return &refusal{code: 403, detail: rcFull, reason: "Too many are banned, muted or have a voice",
			notice: "many_rules", vars: vars{"n": strconv.Itoa(maxRules)}}
	}
	c.room.rules = c.room.rules.with(rule{kind, who}, until)
	c.putSetting(kind, who, storedUntil(until))
	return nil
}

func (c *call) dropRule(which rule) {
	delete(c.room.rules, which)
	c.putSetting(which.kind, which.who, "")
}

// silenced refuses a message of a member that may not write.
func (c *call) silenced() *refusal {
	if c.service() || c.room.maySpeak(c.me, c.shard.now) {
		return nil
	}
	if until, muted := c.room.rules.muted(c.me, c.shard.now); muted {
		return forbid("You are muted in this room", "mute").with("until", c.until(until))
	}
	return forbid("The room is moderated, and you have no voice", "moderated")
}

// until words the end of a rule, with a space before it; empty: it has none.
func (c *call) until(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return c.format("until", vars{"time": historyTime(at, c.shard.now)})
}
