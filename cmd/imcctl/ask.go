package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"imcd/evapi/jsonrpc"
)

// call calls a method and decodes its result into result.
func (t *tool) call(cmd *cobra.Command, method string, params, result any) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), t.timeout)
	defer cancel()
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return t.explain(plain(c.Call(ctx, method, params, result)))
}

// ask calls a method and prints its result: with show, or as it is.
func ask[T any](t *tool, cmd *cobra.Command, method string, params any, show func(w io.Writer, result T)) error {
	var raw json.RawMessage
	if err := t.call(cmd, method, params, &raw); err != nil {
		return err
	}
	if t.json {
		return t.printRaw(raw)
	}
	var result T
	if err := json.Unmarshal(raw, &result); err != nil {
		return fmt.Errorf("result of %s: %w", method, err)
	}
	return t.table(func(w io.Writer) { show(w, result) })
}

// askRoom is ask for a method whose only parameter is a room.
func askRoom[T any](t *tool, cmd *cobra.Command, method, name string, show func(w io.Writer, result T)) error {
	room, err := t.roomURI(cmd, name)
	if err != nil {
		return err
	}
	return ask(t, cmd, method, []string{room}, show)
}

func (t *tool) printRaw(raw json.RawMessage) error {
	_, err := fmt.Fprintf(t.out, "%s\n", raw)
	return err
}

// table prints the lines that show writes, with columns ended by tabs.
func (t *tool) table(show func(w io.Writer)) error {
	w := tabwriter.NewWriter(t.out, 0, 8, 2, ' ', 0)
	show(w)
	return w.Flush()
}

// notFound is the error for a room or a user that is not there.
type notFound struct{ message string }

// Error implements error.
func (e *notFound) Error() string { return e.message }

// Error codes of imcd for rooms and users that do not exist; see its RPC methods.
const (
	codeUnknownRoom = -32004
	codeUnknownUser = -32005
)

// plain removes the error code from imcd's error, and explains a timeout.
func plain(err error) error {
	if refused := new(jsonrpc.Error); errors.As(err, &refused) {
		if refused.Code == codeUnknownRoom || refused.Code == codeUnknownUser {
			return &notFound{refused.Message}
		}
		return errors.New(refused.Message)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time; is imcd running and connected to Kamailio?")
	}
	return err
}

// safe makes a text that somebody else wrote harmless for a terminal and a table.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r' || unicode.In(r, unicode.Zl, unicode.Zp):
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}
