package engine

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"imcd/engine/store"
	"imcd/evapi/sipmsg"
)

// settings are what is set in a room, in a form that is fast to use. Never changed once made; nil: nothing
// is set.
type settings struct {
	stored map[string]string // values as they are stored, by name; those that this imcd does not know, too

	title, topic string
	key          string // its hash; empty: there is none
	joins        string // a value of Config.JoinNotices; empty: not set
	limit        setNumber
	history      setNumber
	keep         setTerm
	typing       setSwitch
	receipts     setSwitch
	invite       bool          // members may invite and add
	idle         time.Duration // the room ends after so long without a message; 0: it does not
	moderated    bool          // only who has a voice may write
}

// setNumber is a number that may not be set; 0 may mean that there is no limit.
type setNumber struct {
	set bool
	n   int
}

// setTerm is a time that may not be set; 0: for ever.
type setTerm struct {
	set bool
	d   time.Duration
}

// setSwitch is a switch that may not be set.
type setSwitch uint8

const (
	switchUnset setSwitch = iota
	switchOn
	switchOff
)

// Words for values.
const (
	wordOn      = "on"
	wordOff     = store.SettingOff
	wordDefault = "default" // takes a setting back
)

const (
	maxTopic = 200 // characters
	// settingMembers bounds the rooms in which "is typing" and receipts are passed on because the room has
	// set so, as it bounds typing_members and receipt_members.
	settingMembers = 1000
)

// The methods of a nil *settings answer with cfg.

func (s *settings) joinNotices(cfg *Config) string {
	if s == nil || s.joins == "" {
		return cfg.JoinNotices
	}
	return s.joins
}

// maxMembers is 0 if there is no limit.
func (s *settings) maxMembers(cfg *Config) int {
	if s == nil || !s.limit.set {
		return cfg.MaxMembers
	}
	return s.limit.n
}

func (s *settings) historyOnJoin(cfg *Config) int {
	if s == nil || !s.history.set {
		return cfg.HistoryOnJoin
	}
	return min(s.history.n, cfg.HistoryMax)
}

// messageAge is how long messages are kept; 0: there is no limit.
func (s *settings) messageAge(cfg *Config) time.Duration {
	if s == nil || !s.keep.set {
		return cfg.MessageAge
	}
	return s.keep.d
}

// typingMembers is up to how many members "is typing" is passed on.
func (s *settings) typingMembers(cfg *Config) int {
	switch {
	case s == nil || s.typing == switchUnset:
		return cfg.TypingMembers
	case s.typing == switchOff:
		return 0
	}
	return settingMembers
}

// receiptMembers is up to how many members senders get receipts; -1: in no room.
func (s *settings) receiptMembers(cfg *Config) int {
	switch {
	case s == nil || s.receipts == switchUnset:
		if cfg.Receipts != ReceiptsSender {
			return -1
		}
		return cfg.ReceiptMembers
	case s.receipts == switchOff:
		return -1
	}
	return settingMembers
}

func (s *settings) membersInvite() bool { return s != nil && s.invite }

func (s *settings) topicText() string {
	if s == nil {
		return ""
	}
	return s.topic
}

// value is how a setting is stored; empty: it is not set.
func (s *settings) value(name string) string {
	if s == nil {
		return ""
	}
	return s.stored[name]
}

// with returns s with another value, which can be read; empty: it is not set any more. s may be nil.
func (s *settings) with(name, value string) *settings {
	stored := map[string]string{}
	if s != nil {
		maps.Copy(stored, s.stored)
	}
	if stored[name] = value; value == "" {
		delete(stored, name)
	}
	next, _ := newSettings(stored) // others that cannot be read do not count, as before
	return next
}

// newSettings reads stored values; nil if there are none. Those that cannot be read do not count, and the
// error names the last of them.
func newSettings(stored map[string]string) (*settings, error) {
	if len(stored) == 0 {
		return nil, nil
	}
	s := &settings{stored: stored}
	var bad error
	for name, value := range stored {
		if row := findSetting(name); row != nil && row.fill != nil {
			if err := row.fill(s, value); err != nil {
				bad = fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return s, bad
}

// plainText reads a text for a setting: one line, at most so many characters.
func plainText(text string, most int) (string, error) {
	if text = strings.TrimSpace(printable(strings.Map(withoutInvisible, text))); sipmsg.IsBlank(text) {
		return "", nil
	}
	if n := utf8.RuneCountInString(text); n > most {
		return "", fmt.Errorf("that has %d characters, at most %d are possible", n, most)
	}
	return text, nil
}

// withoutInvisible drops characters that nobody sees, such as marks of direction.
func withoutInvisible(r rune) rune {
	if invisible(r) && r != 0x200d && r != 0xfe0f { // these two make emoji
		return -1
	}
	return r
}

func readSwitch(value string) (setSwitch, error) {
	switch value {
	case wordOn:
		return switchOn, nil
	case wordOff:
		return switchOff, nil
	}
	return switchUnset, fmt.Errorf("'%s' is neither on nor off", clip(value))
}

// readNumber reads a number of 1 to most, or off, which is 0.
func readNumber(value string, most int) (setNumber, error) {
	if value == wordOff {
		return setNumber{set: true}, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		return setNumber{}, fmt.Errorf("'%s' is neither off nor a number from 1 to %d", clip(value), most)
	}
	return setNumber{true, n}, nil
}

func showSwitch(yes bool) string {
	if yes {
		return wordOn
	}
	return wordOff
}

func showNumber(n int) string {
	if n == 0 {
		return wordOff
	}
	return strconv.Itoa(n)
}

func showText(text string) string {
	if text == "" {
		return wordOff
	}
	return text
}
