package engine

import (
	"errors"
	"fmt"
	"time"

	"imcd/engine/store"
)

// roomSetting is one row of the table of settings, which #set, #help, the operator's methods and the Store
// serve.
type roomSetting struct {
	name   string
	values string // as help shows them
	help   string // one line
	admins bool   // admins may change it, too
	secret bool   // it is stored as a hash, and only whether it is set is shown
	most   int    // the value is a text of so many characters at most; 0: it is a word
	// fill reads a value, as somebody has set it or as it is stored, into s. nil: a flag that the module
	// knows, see private.
	fill func(s *settings, value string) error
	// show is the value in force.
	show func(r *room, cfg *Config) string
	// bound, which may be nil, says why a value is more than the operator allows the owners of rooms.
	bound func(s *settings, cfg *Config) error
}

// maxLimit bounds limit.
const maxLimit = 1_000_000

// settingsTable is never changed.
var settingsTable = []*roomSetting{
	{name: "title", values: "text|off", admins: true, most: maxDisplay, fill: fillTitle,
		help: "the room's name in phones and lists, 64 characters at most",
		show: func(r *room, _ *Config) string { return showText(r.title()) }},
	{name: "topic", values: "text|off", admins: true, most: maxTopic, fill: fillTopic,
		help: "what the room is about, for who joins; 200 characters at most",
		show: func(r *room, _ *Config) string { return showText(r.settings.topicText()) }},
	{name: "private", values: "on|off",
		help: "who has no invitation cannot join, and does not see the room",
		show: func(r *room, _ *Config) string { return showSwitch(r.private) }},
	{name: settingKeyName, values: "word|off", secret: true, fill: fillKey,
		help: "who is not invited joins by #join room key",
		show: func(r *room, _ *Config) string { return showSwitch(r.settings != nil && r.settings.key != "") }},
	{name: "invite", values: "admins|members", fill: fillInvite,
		help: "who may invite and add users", show: showInvite},
	{name: "moderated", values: "on|off", admins: true, fill: fillModerated,
		help: "only owners, admins and who has a voice may write",
		show: func(r *room, _ *Config) string { return showSwitch(r.settings != nil && r.settings.moderated) }},
	{name: "limit", values: "number|off", fill: fillLimit, bound: boundLimit,
		help: "members at most",
		show: func(r *room, cfg *Config) string { return showNumber(r.settings.maxMembers(cfg)) }},
	{name: "history", values: "number|off", fill: fillHistory, bound: boundHistory,
		help: "messages that are shown to who joins",
		show: func(r *room, cfg *Config) string { return showNumber(r.settings.historyOnJoin(cfg)) }},
	{name: store.SettingKeep, values: "1h ... 366d|off", fill: fillKeep, bound: boundKeep,
		help: "how long messages are kept", show: showKeep},
	{name: "idle", values: "1d ... 366d|off", fill: fillIdle, show: showIdle,
		help: "the room ends after so long without a message; its owners hear of it before"},
	{name: "joins", values: "all|counted|off", fill: fillJoins,
		help: "notices of who joins and leaves: one each, put together in rooms of more than 50, or none",
		show: func(r *room, cfg *Config) string { return r.settings.joinNotices(cfg) }},
	{name: "typing", values: "on|off",
		help: "pass on that somebody is typing",
		fill: func(s *settings, value string) (err error) { s.typing, err = readSwitch(value); return err },
		show: func(r *room, cfg *Config) string { return showSwitch(r.within(r.settings.typingMembers(cfg))) }},
	{name: "receipts", values: "on|off",
		help: "let senders know that a message was delivered and displayed",
		fill: func(s *settings, value string) (err error) { s.receipts, err = readSwitch(value); return err },
		show: func(r *room, cfg *Config) string { return showSwitch(r.within(r.settings.receiptMembers(cfg))) }},
}

// settingPrivate is the only setting that the module knows. It is stored as the room's flag.
const settingPrivate = "private"

// findSetting returns the row of that name in any case, or nil.
func findSetting(name string) *roomSetting {
	for _, row := range settingsTable {
		if equalFold(row.name, name) {
			return row
		}
	}
	return nil
}

func fillTitle(s *settings, value string) (err error) {
	s.title, err = plainText(value, maxDisplay)
	return err
}

func fillTopic(s *settings, value string) (err error) {
	s.topic, err = plainText(value, maxTopic)
	return err
}

func fillInvite(s *settings, value string) error {
	if s.invite = value == "members"; !s.invite && value != "admins" {
		return fmt.Errorf("'%s' is neither admins nor members", clip(value))
	}
	return nil
}

func showInvite(r *room, _ *Config) string {
	if r.settings.membersInvite() {
		return "members"
	}
	return "admins"
}

func fillModerated(s *settings, value string) error {
	to, err := readSwitch(value)
	s.moderated = to == switchOn
	return err
}

func fillLimit(s *settings, value string) (err error) {
	s.limit, err = readNumber(value, maxLimit)
	return err
}

func boundLimit(s *settings, cfg *Config) error {
	if most := cfg.MaxMembers; most > 0 && (s.limit.n == 0 || s.limit.n > most) {
		return fmt.Errorf("at most %d are possible here", most)
	}
	return nil
}

func fillHistory(s *settings, value string) (err error) {
	s.history, err = readNumber(value, maxHistory)
	return err
}

// maxHistory is the highest value of history_max.
const maxHistory = 1000

func boundHistory(s *settings, cfg *Config) error {
	if s.history.n > cfg.HistoryMax {
		return fmt.Errorf("at most %d are possible here", cfg.HistoryMax)
	}
	return nil
}

func fillKeep(s *settings, value string) error {
	d, ok := store.ReadTerm(value)
	if value != wordOff && (!ok || d < time.Hour) {
		return fmt.Errorf("'%s' is neither off nor a time from 1h to 366d", clip(value))
	}
	s.keep = setTerm{true, d}
	return nil
}

func boundKeep(s *settings, cfg *Config) error {
	if most := cfg.MessageAge; most > 0 && (s.keep.d == 0 || s.keep.d > most) {
		return fmt.Errorf("at most %s are possible here", store.ShowTerm(most))
	}
	return nil
}

func showKeep(r *room, cfg *Config) string {
	if d := r.settings.messageAge(cfg); d > 0 {
		return store.ShowTerm(d)
	}
	return wordOff
}

func fillJoins(s *settings, value string) error {
	switch value {
	case JoinsAll, JoinsCounted, JoinsOff:
		s.joins = value
		return nil
	}
	return errors.New("'" + clip(value) + "' is none of all, counted and off")
}
