package engine

import (
	"bytes"
	"cmp"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"imcd/engine/native"
	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

const (
	textPlain = "text/plain"
)

// nameAddr writes a From value: the room, under the sender's display name after cleanDisplay.
func nameAddr(display string, n store.Name) string {
	if display == "" {
		return "<" + n.URI() + ">"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(display) + `" <` + n.URI() + ">"
}

// compose makes the copy of a member's message. Content that is no plain text, or cannot be decoded, is
// passed on unchanged, under the author's name.
func (e *Engine) compose(r *room, row *store.MessageRow) (*evapi.Outgoing, error) {
	body, display, contentType := row.Body, row.Display, row.ContentType
	if entity := storedEntity(row); sipmsg.InPlace(&entity) {
		names := e.frameWords(r, row)
		if !sipmsg.InUTF8(&entity) && !isASCII(e.cfg.MessageFormat+names("user")+names("display")) {
			if text, ok := storedText(row); ok {
				body, contentType = []byte(text), plainUTF8
			}
		}
		body = e.frameText(e.lineMarks.guard(body), names)
		if display == "" {
			display = r.title()
		}
	} else {
		display = displayOf(row)
	}
	return evapi.NewOutgoing(evapi.Content{Origin: e.origin(r.name, row, ""), From: nameAddr(display, r.name),
		ContentType: contentType, Headers: e.copyHeaders(r, row), Body: body})
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// displayOf is the display name of a message that does not name its author in the text.
func displayOf(row *store.MessageRow) string {
	if row.Display != "" {
		return row.Display
	}
	return cleanDisplay(row.Sender.User)
}

// composeLine makes the line before a message that does not name its author, for clients that show no
// display names, and before a file that most of them cannot read. nil: there is no line.
func (e *Engine) composeLine(r *room, row *store.MessageRow) *evapi.Outgoing {
	if e.cfg.AttachmentLine == "" {
		return nil
	}
	file := fileWords(row)
	if row.Display != "" && file == "" {
		return nil
	}
	entity := storedEntity(row)
	if sipmsg.InPlace(&entity) {
		return nil
	}
	names := e.frameWords(r, row)
	line := expand(e.cfg.AttachmentLine, func(word string) string {
		if word == "type" {
			return cmp.Or(file, clip(mediaType(row.ContentType)))
		}
		return names(word)
	})
	out, err := e.composeText(r.name, r.title(), line, "")
	if err != nil {
		e.log.Warn().Err(err).Msg("attachment_line cannot be sent")
		return nil
	}
	return out
}

// maxFileURL bounds the address of a file in a line, in bytes. Without a longer one the line has what else is known.
const maxFileURL = 1000

// fileWords are the name, the size and the address of a file that a message names; empty: it names none.
func fileWords(row *store.MessageRow) string {
	if mediaType(row.ContentType) != native.FileType {
		return ""
	}
	entity := storedEntity(row)
	document, err := sipmsg.Decode(&entity)
	if err != nil {
		return ""
	}
	file, err := native.ReadFile(document)
	if err != nil {
		return ""
	}
	words := cmp.Or(strings.TrimSpace(clip(strings.Map(withoutInvisible, file.Name))), mediaType(row.ContentType)) +
		" (" + formatBytes(int(min(file.Size, math.MaxInt))) + ")"
	if len(file.URL) <= maxFileURL && isPrintable(file.URL) {
		words += ": " + file.URL
	}
	return words
}

// sipDate is the format of a Date header (RFC 3261 section 20.17).
const sipDate = "Mon, 02 Jan 2006 15:04:05 GMT"

// copyHeaders are the headers of the copies of a message.
func (e *Engine) copyHeaders(r *room, row *store.MessageRow) []evapi.Header {
	headers := make([]evapi.Header, 0, len(e.headers)+len(row.Headers)+3)
	headers = append(headers, e.headers...)
	var way path
	for _, h := range row.Headers {
		switch h.Name {
		case headerPath:
			way.add(h.Value)
		case headerCPIM, headerNames: // for native devices alone
		default:
			headers = append(headers, h)
		}
	}
	if way.id == "" {
		var buf [maxPathID]byte
		way.id = string(strconv.AppendUint(append(strconv.AppendInt(buf[:0], r.id, 36), '-'), row.Seq, 10))
	}
	headers = append(headers, evapi.Header{Name: headerDate, Value: row.At.UTC().Format(sipDate)},
		evapi.Header{Name: headerPath, Value: way.through(markOf(r.key))})
	if !row.Expires.IsZero() {
		left := max(0, (time.Until(row.Expires)+time.Second-1)/time.Second)
		headers = append(headers, evapi.Header{Name: headerExpires, Value: strconv.FormatInt(int64(left), 10)})
	}
	return headers
}

// frameWords gives the values of message_format. Each is made when the format needs it.
func (e *Engine) frameWords(r *room, row *store.MessageRow) func(word string) string {
	return func(word string) string {
		switch {
		case word == "user":
			return e.author(r, row)
		case word == "room":
			return r.name.User
		case word == "display" && e.usesNames:
			return e.displayed(r, row)
		}
		return ""
	}
}

// Origin is the source of the copies of one message or notice.
type Origin struct {
	Room    store.Name
	Message *store.MessageRow // nil: a notice; not to be changed
	Notice  string
}

// origin is nil unless the Relay needs it, or a native device may: it doubles the memory of a waiting message.
func (e *Engine) origin(room store.Name, row *store.MessageRow, notice string) any {
	if !e.cfg.KeepOrigins && !e.natives.some.Load() {
		return nil
	}
	return &Origin{Room: room, Message: row, Notice: notice}
}

// frameText puts a message into the message format.
func (e *Engine) frameText(body []byte, value func(word string) string) []byte {
	before, after, _ := strings.Cut(e.cfg.MessageFormat, "{body}")
	return bytes.Join([][]byte{[]byte(expand(before, value)), body, []byte(expand(after, value))}, nil)
}

// noticeHeaders are the headers of notices.
func (e *Engine) noticeHeaders(room store.Name, at time.Time) []evapi.Header {
	way := path{id: e.tag + "-" + strconv.FormatUint(e.texts.Add(1), 36)}
	return append(e.headers[:len(e.headers):len(e.headers)],
		evapi.Header{Name: headerAuto, Value: autoGenerated},
		evapi.Header{Name: headerDate, Value: at.UTC().Format(sipDate)},
		evapi.Header{Name: headerPath, Value: way.through(markOf(room.Key()))})
}

// composeText makes a notice from a room, under the room's title, which may be empty. callID is that of the
// command that it answers; it may be empty.
func (e *Engine) composeText(from store.Name, title, text, callID string) (*evapi.Outgoing, error) {
	return e.composeNotice(from, title, text, callID, time.Now())
}

// composeNotice is composeText for a notice about an event at a time.
func (e *Engine) composeNotice(from store.Name, title, text, callID string, at time.Time) (*evapi.Outgoing, error) {
	headers := e.noticeHeaders(from, at)
	if callID != "" {
		headers = append(headers, evapi.Header{Name: "In-Reply-To", Value: callID})
	}
	return evapi.NewOutgoing(evapi.Content{Origin: e.origin(from, nil, text),
		From: nameAddr(title, from), ContentType: textPlain, Headers: headers, Body: []byte(text)})
}

// composeCount makes a notice about n messages that m does not get.
func (e *Engine) composeCount(r *room, m *member, notice string, n uint64) (*evapi.Outgoing, error) {
	return e.composeText(r.name, r.title(), e.notices.ofMany(notice, n,
		vars{"room": r.name.User, "user": r.show(m.name()), "cmd": e.cfg.CmdStartChar}), "")
}

// plainUTF8 is the content type of an operator's texts.
const plainUTF8 = "text/plain;charset=UTF-8"
