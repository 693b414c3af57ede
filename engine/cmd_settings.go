package engine

import (
	"cmp"
	"strings"
	"time"

	"imcd/engine/store"
)

// Commands about what is set in a room.

// runTopic shows the topic, or sets it.
func runTopic(c *call) *refusal {
	topic := findSetting("topic")
	if c.req.text != "" {
		return c.set(topic, c.req.text)
	}
	if text := c.room.settings.topicText(); text != "" {
		c.answer("topic", vars{"value": text})
	} else {
		c.answer("topic_none", nil)
	}
	return nil
}

// runSet lists the settings, shows one, or changes it.
func runSet(c *call) *refusal {
	cfg := &c.shard.engine.cfg
	if len(c.req.args) == 0 {
		var lines []string
		for _, row := range settingsTable {
			lines = append(lines, row.name+": "+row.show(c.room, cfg))
		}
		c.list(c.req.from, "settings_header", below, lines, nil)
		return nil
	}
	row := findSetting(c.req.args[0])
	switch {
	case row == nil:
		return refuseArguments("There is no setting '" + clip(c.req.args[0]) + "'")
	case len(c.req.args) == 1 && c.req.text == "":
		c.answer("setting", vars{"setting": row.name, "value": row.show(c.room, cfg)})
		return nil
	case row.most > 0:
		return c.set(row, c.req.text)
	case len(c.req.args) != 2:
		return refuseArguments(row.name + " takes one value: " + row.values)
	}
	value := c.req.args[1]
	if !row.secret {
		value = strings.ToLower(value)
	}
	return c.set(row, value)
}

// set changes a setting of the room, and informs the members.
func (c *call) set(row *roomSetting, value string) *refusal {
	switch {
	case row.admins && !c.administers():
		return forbid("Only for owners and admins", "need_admin")
	case !row.admins && !c.owns():
		return forbid("Only for owners", "need_owner")
	}
	changed, r := c.change(row, value)
	if r != nil {
		return r
	}
	if changed {
		c.acted(actSet, "", time.Time{}, row.name+": "+row.show(c.room, &c.shard.engine.cfg))
	}
	v := vars{"setting": row.name, "value": row.show(c.room, &c.shard.engine.cfg)}
	switch {
	case !changed:
		c.answer("setting", v)
	case row.name == "topic" && c.room.settings.topicText() != "":
		c.broadcast("topic_set", v)
	default:
		c.broadcast("setting_set", v)
	}
	return nil
}

// change gives a setting another value, and reports whether it had another one.
func (c *call) change(row *roomSetting, value string) (bool, *refusal) {
	if equalFold(value, wordDefault) || (row.most > 0 || row.secret) && equalFold(value, wordOff) {
		value = ""
	}
	if row.most > 0 {
		var err error
		if value, err = plainText(value, row.most); err != nil {
			return false, refuseArguments(row.name + ": " + err.Error())
		}
	}
	if row.name == settingPrivate {
		return c.changePrivate(value)
	}
	if row.secret && value != "" {
		if err := checkKey(value); err != nil {
			return false, refuseArguments(row.name + ": " + err.Error())
		}
		if c.req.proof == nil || !c.req.proof.right {
			return false, refuseUnavailable("The key cannot be kept")
		}
		value = c.req.proof.hash // see usesKeyFirst
	}
	if value != "" {
		var read settings
		err := row.fill(&read, value)
		if err == nil && row.bound != nil && !c.service() {
			err = row.bound(&read, &c.shard.engine.cfg)
		}
		if err != nil {
			return false, refuseArguments(row.name + ": " + err.Error())
		}
	}
	if value == c.room.settings.value(row.name) {
		return false, nil
	}
	c.room.settings = c.room.settings.with(row.name, value)
	c.putSetting(row.name, "", value)
	if row.name == "idle" {
		c.beginIdle()
	}
	return true, nil
}

func (c *call) changePrivate(value string) (bool, *refusal) {
	to, err := readSwitch(cmp.Or(value, wordOff))
	if err != nil {
		return false, refuseArguments(err.Error())
	}
	if c.room.private == (to == switchOn) {
		return false, nil
	}
	c.room.private = to == switchOn
	c.putRoom()
	c.room.stored = true
	return true, nil
}

// putSetting stores something that is set in the room; see store.SettingRow.
func (c *call) putSetting(name, who, value string) {
	if !c.room.stored { // the imc module made the room
		c.putRoom()
		c.room.stored = true
	}
	c.changes = append(c.changes, store.Change{Op: store.PutSetting,
		Setting: &store.SettingRow{Room: c.room.id, Name: name, Who: who, Value: value}})
}

// explainSettings is the help of set: the command and the table.
func explainSettings(explained string) []string {
	lines := []string{explained}
	for _, row := range settingsTable {
		line := row.name + " " + row.values + " - " + row.help
		if row.admins {
			line += "; for admins, too"
		}
		lines = append(lines, line)
	}
	return lines
}
