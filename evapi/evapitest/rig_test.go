package evapitest_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMessageBetweenUsers(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) { messageBetweenUsers(t, k, transport) })
	}
}

func messageBetweenUsers(t *testing.T, k *evapitest.Kamailio, transport string) {
	ctx := kit.Context(t)
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr(), Transport: transport,
		DisplayName: `Al "the" one`})
	bob := kit.UA(t, evapitest.UAConfig{User: "bob", Proxy: k.SIPAddr(), Transport: transport, Domain: "example.org"})
	if err := errors.Join(alice.Register(ctx), bob.Register(ctx)); err != nil {
		t.Fatal(err)
	}
	body := []byte("a\x00\xff\r\n\"b\"")
	res, err := alice.Message(ctx, "sip:bob@elsewhere.example:7", "application/x-bytes", body, "Subject: s")
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("MESSAGE: %v %v", res, err)
	}
	got, err := bob.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Body, body) || got.From != alice.AOR() || got.FromName != `Al "the" one` ||
		got.ContentType != "application/x-bytes" || got.Header("Subject") != "s" {
		t.Errorf("received %+v", got)
	}
	bob.AnswerWith(486)
	if res, err = alice.Say(ctx, "sip:bob@x", "again"); err != nil || res.StatusCode != 486 {
		t.Errorf("MESSAGE to a busy user: %v %v", res, err)
	}
	if err := bob.Unregister(ctx); err != nil {
		t.Fatal(err)
	}
	if res, err = alice.Say(ctx, "sip:bob@x", "again"); err != nil || res.StatusCode != 404 {
		t.Errorf("MESSAGE to an unregistered user: %v %v", res, err)
	}
	if all, err := bob.WaitN(ctx, 2); err != nil || len(all) != 2 {
		t.Errorf("bob has %d requests: %v", len(all), err)
	}
}

func TestRetransmission(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	ctx := kit.Context(t)
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr()})
	bob := kit.UA(t, evapitest.UAConfig{User: "bob", Proxy: k.SIPAddr(), T1: 10 * time.Millisecond})
	if err := bob.Register(ctx); err != nil {
		t.Fatal(err)
	}
	bob.AnswerWith(0)
	short, cancel := context.WithTimeout(ctx, 1200*time.Millisecond)
	defer cancel()
	if _, err := alice.Say(short, bob.AOR(), "anybody there?"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a silent user: %v", err)
	}
	if n := len(bob.Received()); n != 1 {
		t.Errorf("%d requests seen, retransmissions among them", n)
	}
	if err := k.Signal(19); err != nil {
		t.Fatal(err)
	}
	res, err := bob.Say(ctx, alice.AOR(), "is it on?")
	if err != nil || res.StatusCode != 408 {
		t.Errorf("MESSAGE through a frozen Kamailio: %v %v", res, err)
	}
	if err := k.Signal(18); err != nil {
		t.Fatal(err)
	}
}

func TestRestart(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	ctx := kit.Context(t)
	u := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr(), Transport: "tcp"})
	for _, stop := range []func() error{k.Halt, k.Kill} {
		if err := u.Register(ctx); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if k.Running() || k.Pid() != 0 {
			t.Error("it still runs")
		}
		if err := k.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Start(ctx); !errors.Is(err, evapitest.ErrRunning) {
		t.Errorf("second Start: %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	_, err := evapitest.StartKamailio(kit.Context(t), evapitest.Options{Config: "nonsense", SIPPort: 9, EvapiPort: 10})
	if err == nil {
		t.Fatal("it started")
	}
	if !bytes.Contains([]byte(err.Error()), []byte("parse error")) {
		t.Errorf("the error does not say why: %v", err)
	}
}
