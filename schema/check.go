package schema

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"imcd/engine/store"
)

// checkChanges finds changes that the database would refuse: the error is better here,
// and nothing is half done.
func checkChanges(changes []store.Change) error {
	for i, c := range changes {
		if err := checkChange(c); err != nil {
			return fmt.Errorf("change %d: %w: %w", i+1, ErrInvalid, err)
		}
	}
	return nil
}

// maxChars is the length of the text columns of Kamailio's tables.
const maxChars = 64

func checkChange(c store.Change) error {
	switch c.Op {
	case store.PutRoom, store.DeleteRoom:
		if c.Room.ID < 0 {
			return errors.New("room ID is negative")
		}
		return checkRoom(c.Room.Name)
	case store.PutMember, store.DeleteMember:
		if err := checkRoom(c.Member.Room); err != nil {
			return err
		}
		if err := checkName("member", c.Member.User); err != nil {
			return err
		}
		if c.Member.Cursor != nil {
			if err := checkNumber("cursor", *c.Member.Cursor); err != nil {
				return err
			}
		}
		if c.Member.Inviter.IsZero() {
			return nil
		}
		return checkName("inviter", c.Member.Inviter)
	}
	return checkDelivery(c)
}

// checkDelivery checks a change that names a room by its id.
func checkDelivery(c store.Change) error {
	switch {
	case c.Op == store.PutMessage && c.Message != nil:
		return checkMessage(c.Message)
	case c.Op == store.DeleteMessage && c.Message != nil:
		if c.Message.Room <= 0 || c.Message.Seq == 0 {
			return errors.New("a message needs a room and a number")
		}
		return checkNumber("message", c.Message.Seq)
	case c.Op == store.PutCursor && c.Cursor != nil:
		return cmp.Or(checkName("member", c.Cursor.User), checkNumber("cursor", c.Cursor.Seq))
	case c.Op == store.PutProgress && c.Progress != nil:
		return checkNumber("progress", c.Progress.Done)
	case c.Op == store.PutPlaces && c.Places != nil:
		if c.Places.Room <= 0 {
			return errors.New("places need a room")
		}
		return nil
	case c.Op == store.PutSetting && c.Setting != nil:
		return checkSetting(c.Setting)
	case c.Op == store.PutAct && c.Act != nil:
		return checkAct(c.Act)
	case c.Op == store.PutEvent && c.Event != nil:
		return cmp.Or(checkRoom(c.Event.Room), checkNumber("message", c.Event.Seq))
	case c.Op == store.PutNote && c.Note != nil:
		if c.Note.ID <= 0 {
			return errors.New("a note needs an ID")
		}
		return cmp.Or(checkName("room", c.Note.Room), checkName("user", c.Note.User))
	case c.Op == store.DeleteNote && c.Note != nil:
		return nil
	case c.Op == store.PutSeen && c.Seen != nil:
		return checkPlain("reason", c.Seen.Reason)
	case c.Op == store.MoveShard && c.Move != nil:
		return nil
	}
	return fmt.Errorf("unknown operation %d, or one without its row", c.Op)
}

func checkSetting(s *store.SettingRow) error {
	if s.Room <= 0 || len(s.Value) > store.MaxSetting || len(s.Who) > store.MaxSetting {
		return errors.New("a setting needs a room and has a bounded length")
	}
	return cmp.Or(checkText("setting", s.Name), checkPlain("user of a setting", s.Who), checkPlain("setting", s.Value))
}

func checkAct(a *store.ActRow) error {
	if a.ID <= 0 || a.Act == "" || len(a.Why) > store.MaxSetting {
		return errors.New("an act needs an ID and a name, and has a bounded reason")
	}
	return cmp.Or(checkRoom(a.Room), checkPlain("act", a.Act), checkPlain("user of an act", a.By),
		checkPlain("user of an act", a.Who), checkPlain("reason of an act", a.Why))
}

func checkMessage(m *store.MessageRow) error {
	if m.Room <= 0 || m.Seq == 0 {
		return errors.New("a message needs a room and a number")
	}
	if utf8.RuneCountInString(m.Display) > maxChars {
		return fmt.Errorf("display name is longer than %d characters", maxChars)
	}
	if utf8.RuneCountInString(m.Device) > store.MaxDevice {
		return fmt.Errorf("the device of a message is longer than %d characters", store.MaxDevice)
	}
	return cmp.Or(checkNumber("message", m.Seq), checkName("sender", m.Sender), checkPlain("display name", m.Display),
		checkPlain("device", m.Device))
}

// checkNumber refuses numbers that the databases cannot hold.
func checkNumber(what string, n uint64) error {
	if n > math.MaxInt64 {
		return fmt.Errorf("%s number %d is too large", what, n)
	}
	return nil
}

func checkRoom(n store.Name) error {
	if err := checkName("room", n); err != nil {
		return err
	}
	return checkText("room URI", n.URI())
}

func checkName(what string, n store.Name) error {
	if err := checkText(what+" name", n.User); err != nil {
		return err
	}
	return checkText(what+" domain", n.Host)
}

// checkText checks a part of a name.
func checkText(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%s is empty", what)
	case utf8.RuneCountInString(s) > maxChars:
		return fmt.Errorf("%s is longer than %d characters", what, maxChars)
	}
	return checkPlain(what, s)
}

// checkPlain refuses text that a column cannot hold.
func checkPlain(what, s string) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not valid UTF-8", what)
	case strings.ContainsRune(s, 0):
		return fmt.Errorf("%s contains a NUL", what)
	}
	return nil
}
