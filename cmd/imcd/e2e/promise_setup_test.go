package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/cmd/internal/stack"
	"imcd/engine/store"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
)

// chatHost is the domain of all rooms and users here.
const chatHost = "chat.example"

func roomURI(name string) string { return "sip:" + name + "@" + chatHost }
func userURI(name string) string { return "sip:" + name + "@" + chatHost }

// filling is a room as a test finds it in the database.
type filling struct {
	room     string
	id       int64 // 0: as the imc module would have left it
	members  []string
	messages int // that nobody has got yet; needs an id
}

// fillRooms writes rooms into a database, the first member as the owner.
func fillRooms(t *testing.T, url string, rooms []filling) {
	t.Helper()
	ctx := kit.Within(t, 2*time.Minute)
	db, err := schema.Open(ctx, url, schema.Options{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	var changes []store.Change
	for i, f := range rooms {
		changes = f.appendTo(changes)
		if len(changes) < 2000 && i < len(rooms)-1 {
			continue
		}
		if err := db.Commit(ctx, store.Fence{}, changes); err != nil {
			t.Fatal(err)
		}
		changes = nil
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func (f filling) appendTo(changes []store.Change) []store.Change {
	room := store.Name{User: f.room, Host: chatHost}
	changes = append(changes, store.Change{Op: store.PutRoom, Room: store.RoomRow{Name: room, ID: f.id}})
	for i, user := range f.members {
		m := store.MemberRow{Room: room, User: store.Name{User: user, Host: chatHost}}
		if i == 0 {
			m.Flag = store.MemberOwner
		}
		changes = append(changes, store.Change{Op: store.PutMember, Member: m})
	}
	for n := range f.messages {
		changes = append(changes, store.Change{Op: store.PutMessage, Message: &store.MessageRow{
			Room: f.id, Seq: uint64(n + 1), Sender: store.Name{User: f.members[0], Host: chatHost},
			ContentType: "text/plain", Body: fmt.Appendf(nil, "pending message %d in %s", n, f.room), At: time.Now()}})
	}
	return changes
}

// startPlain starts a system without the race detector in imcd.
func startPlain(t *testing.T, opts stack.Options) *stack.Stack {
	t.Helper()
	opts.Binary = plain.Path(t)
	return start(t, "", opts)
}

// chatAgent is a user agent of chatHost, not registered.
func chatAgent(t *testing.T, s *stack.Stack, name string) *evapitest.UA {
	t.Helper()
	u, err := s.Agent(evapitest.UAConfig{User: name, Domain: chatHost, InboxMax: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// twoInRoom are alice, who is not registered and makes a room, and bob, who is and joins it.
func twoInRoom(t *testing.T, s *stack.Stack, room string) (alice, bob *evapitest.UA) {
	t.Helper()
	alice, bob = chatAgent(t, s, "alice"), chatAgent(t, s, "bob")
	if err := bob.Register(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	mustSay(t, alice, "alice", room, "#create")
	mustSay(t, bob, "bob", room, "#join")
	return alice, bob
}

// sayAs sends a message in the name of any user.
func sayAs(ctx context.Context, u *evapitest.UA, user, room, text string) (int, error) {
	res, err := u.Do(ctx, evapitest.Request{Method: "MESSAGE", URI: roomURI(room),
		From: "<" + userURI(user) + ">", Body: []byte(text)})
	if err != nil {
		return 0, err
	}
	return res.StatusCode, nil
}

// mustSay is sayAs for what must be answered 200.
func mustSay(t *testing.T, u *evapitest.UA, user, room, text string) {
	t.Helper()
	code, err := sayAs(kit.Context(t), u, user, room, text)
	if err != nil || code != 200 {
		t.Fatalf("%s says %q in %s: %d %v", user, text, room, code, err)
	}
}

// registerAt registers users at the contact of u, for the time in seconds.
func registerAt(ctx context.Context, u *evapitest.UA, users []string, expires int) error {
	const parallel = 8
	errs := make(chan error, parallel)
	var all sync.WaitGroup
	for worker := range parallel {
		all.Go(func() {
			for i := worker; i < len(users); i += parallel {
				aor := userURI(users[i])
				res, err := u.Do(ctx, evapitest.Request{Method: "REGISTER", URI: "sip:" + chatHost, To: aor,
					From: "<" + aor + ">", Headers: []string{"Contact: <" + u.Contact() +
						">", fmt.Sprint("Expires: ", expires)}})
				if err == nil && res.StatusCode != 200 {
					err = fmt.Errorf("%d %s", res.StatusCode, res.Reason)
				}
				if err != nil {
					errs <- fmt.Errorf("register %s: %w", aor, err)
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

// names makes n names that begin with prefix.
func names(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(prefix, i)
	}
	return list
}

// roomRows are the rooms as they are stored, by user part.
func roomRows(ctx context.Context, db *schema.Store) (map[string]store.RoomRow, error) {
	rooms := make(map[string]store.RoomRow)
	err := db.Load(ctx, store.Part{}, func(s store.RoomState) error {
		rooms[s.Room.Name.User] = s.Room
		return nil
	})
	return rooms, err
}

// metrics reads figures that imcd shows, by their names with labels.
func metrics(ctx context.Context, s *stack.Stack) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTPAddr()+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	values := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if f, err := strconv.ParseFloat(value, 64); err == nil && name != "#" {
			values[name] = f
		}
	}
	return values, nil
}
