// Command pushgate is an example of a webhook's receiver: it wakes phones that sleep. For each member that has
// missed something it sends a notification to a push service, in the form of Firebase's HTTP v1 interface. imcd.yaml
// has:
//
//	webhook_url: http://127.0.0.1:8460/
//	webhook_secret_file: /etc/imcd/webhook_secret
//	webhook_events: missed
//
//	go run ./testdata/pushgate -listen 127.0.0.1:8460 -secret /etc/imcd/webhook_secret \
//	    -push https://fcm.googleapis.com/v1/projects/PROJECT/messages:send -tokens tokens.json
//
// PUSH_AUTHORIZATION is the header Authorization of these requests. With -try the service checks them and wakes nobody
// (validate_only). tokens.json has the token of each user's phone: {"sip:bob@example.org": "…"}.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// batch is a POST of imcd.
type batch struct {
	Data struct {
		Events []event `json:"events"`
	} `json:"data"`
}

type event struct {
	ID      string `json:"id"`
	Event   string `json:"event"`
	Room    string `json:"room"`
	Title   string `json:"title"`
	User    string `json:"user"`
	Sender  string `json:"sender"`
	Display string `json:"display"`
	Count   int    `json:"count"`
	Body    string `json:"body"` // with webhook_bodies
}

type gate struct {
	verify *standardwebhooks.Webhook
	push   string
	try    bool
	tokens map[string]string // by user

	mu   sync.Mutex
	last int64 // by mu: events up to this id are done; imcd repeats some
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8460", "where imcd sends to")
	secret := flag.String("secret", "webhook_secret", "file with webhook_secret")
	push := flag.String("push", "", "address of the push service")
	tokens := flag.String("tokens", "tokens.json", "file with the token of each user's phone")
	try := flag.Bool("try", false, "the push service only checks")
	flag.Parse()
	key, err := os.ReadFile(*secret)
	if err != nil {
		log.Fatal(err)
	}
	g := &gate{push: *push, try: *try}
	if g.verify, err = standardwebhooks.NewWebhook(strings.TrimSpace(string(key))); err != nil {
		log.Fatal(err)
	}
	text, err := os.ReadFile(*tokens)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.Unmarshal(text, &g.tokens); err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: *listen, Handler: g, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// ServeHTTP takes a batch. An event that cannot be passed on makes imcd send it, and those behind it, again.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<20))
	if err == nil {
		err = g.verify.Verify(body, r.Header)
	}
	var b batch
	if err == nil {
		err = json.Unmarshal(body, &b)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ev := range b.Data.Events {
		id, err := strconv.ParseInt(ev.ID, 10, 64)
		if err != nil || id <= g.last {
			continue
		}
		if ev.Event == "missed" && g.tokens[ev.User] != "" {
			if err := g.wake(r.Context(), ev); err != nil {
				log.Print(err)
				http.Error(w, "the push service does not take it", http.StatusBadGateway)
				return
			}
		}
		g.last = id
	}
}

// wake sends one notification.
func (g *gate) wake(ctx context.Context, ev event) error {
	title, from := ev.Title, ev.Display
	if title == "" {
		title = ev.Room
	}
	if from == "" {
		from = ev.Sender
	}
	text := ev.Body
	if text == "" {
		text = fmt.Sprintf("%d new, the last of %s", ev.Count, from)
	}
	b, err := json.Marshal(map[string]any{"validate_only": g.try, "message": map[string]any{
		"token":        g.tokens[ev.User],
		"notification": map[string]string{"title": title, "body": text},
		"data":         map[string]string{"room": ev.Room},
		"android":      map[string]string{"priority": "high"},
	}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.push, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if a := os.Getenv("PUSH_AUTHORIZATION"); a != "" {
		req.Header.Set("Authorization", a)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("push service: %s", res.Status)
	}
	return nil
}
