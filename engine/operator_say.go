package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"imcd/engine/store"
	"imcd/evapi/sipmsg"
)

// sayWindow is how many rooms SayAll speaks to at a time: fewer than the smallest
// inbox takes would be slow, more would leave no place for users.
const sayWindow = 64

// Say sends a text to a room, as a message of its member from, or, if from is
// empty, of the service. It is durable and reaches everybody like any message.
// ErrBadName, ErrNoRoom, *Refused.
func (e *Engine) Say(ctx context.Context, room, text, from string) error {
	req, err := e.newMessage(room, text)
	if err != nil {
		return err
	}
	if from != "" {
		if req.from, err = ParseName(from, req.room.Host); err != nil {
			return fmt.Errorf("from: %w %q: %w", ErrBadName, clip(from), err)
		}
	}
	return e.execute(ctx, req)
}

func (e *Engine) newMessage(room, text string) (*request, error) {
	switch {
	case text == "":
		return nil, &Refused{Code: 400, Reason: "text: is empty"}
	case !utf8.ValidString(text):
		return nil, &Refused{Code: 400, Reason: "text: is not UTF-8"}
	}
	req, err := e.newOrder(room)
	if err == nil {
		req.body, req.contentType = []byte(text), plainUTF8
		req.content = sipmsg.Content{Kind: sipmsg.Text, Text: text, TextOK: true,
			Entity: sipmsg.Entity{ContentType: plainUTF8, Body: req.body}}
	}
	return req, err
}

// SayAll sends a text of the service to all rooms and returns how many took it.
// Rooms that end meanwhile are left out; the first that cannot take it for another
// reason ends it: *Refused.
func (e *Engine) SayAll(ctx context.Context, text string) (said int, err error) {
	defer func() { e.log.Info().Err(err).Str("action", "message to all").Int("rooms", said).Msg("operator") }()
	rooms, err := e.Rooms(ctx)
	if err != nil {
		return 0, err
	}
	var waiting []*request
	settle := func(most int) error {
		for len(waiting) > most {
			err := waiting[0].outcome(ctx)
			waiting = waiting[1:]
			switch {
			case err == nil:
				said++
			case !errors.Is(err, ErrNoRoom):
				return fmt.Errorf("said in %d of %d rooms: %w", said, len(rooms), err)
			}
		}
		return nil
	}
	for _, r := range rooms {
		req, err := e.newMessage(r.Room, text)
		if err != nil {
			return said, err
		}
		if !e.submit(req) {
			err := settle(0)
			return said, errors.Join(err, &Refused{Code: 503, Reason: fmt.Sprintf(
				"imcd is overloaded or stopping; said in %d of %d rooms", said, len(rooms))})
		}
		waiting = append(waiting, req)
		if err := settle(sayWindow - 1); err != nil {
			return said, err
		}
	}
	return said, settle(0)
}

// Command carries out a line of the command language, as if a user had sent it to a
// room; the character that begins a command may be left out. ErrBadName,
// ErrNoRoom, ErrNoUser, *Refused.
func (e *Engine) Command(ctx context.Context, from store.Name, room, line string) error {
	line = strings.TrimPrefix(line, e.cfg.CmdStartChar)
	req, err := e.newMessage(room, e.cfg.CmdStartChar+line)
	if err != nil {
		return err
	}
	req.from = from
	if why := e.readCommand(req, line); why != nil {
		return &Refused{Code: why.code, Reason: why.reason}
	}
	if req.cmd.run == nil {
		return &Refused{Code: 400, Reason: req.word + " is for SIP clients, ask imc.list_rooms"}
	}
	return e.execute(ctx, req)
}
