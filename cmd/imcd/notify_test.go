package main

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest/kit"
)

// TestNotify is systemd to imcd: its unit has Type=notify, and a watchdog.
func TestNotify(t *testing.T) {
	ctx, cancel := context.WithTimeout(kit.Context(t), 30*time.Second)
	defer cancel()
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	deadline, _ := ctx.Deadline()
	if err := systemd.SetReadDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	hears := func(want string) {
		t.Helper()
		state := make([]byte, 100)
		n, err := systemd.Read(state)
		if err != nil || string(state[:n]) != want {
			t.Errorf("systemd heard %q %v, want %q", state[:n], err, want)
		}
	}
	// No Kamailio is there: imcd is up without one.
	i, err := imcdtest.Start(ctx, imcdtest.Options{Dir: bin, Name: "notify", Secret: "x", Evapi: "127.0.0.1:1",
		Environ: []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=300000"}})
	if err != nil {
		t.Fatal(err)
	}
	hears("READY=1")
	for range 3 {
		hears("WATCHDOG=1")
	}
	if err := i.Stop(); err != nil {
		t.Error(err)
	}
	for { // it may have said once more that it lives
		state := make([]byte, 100)
		n, err := systemd.Read(state)
		if err != nil || string(state[:n]) == "STOPPING=1" {
			if err != nil {
				t.Error(err)
			}
			return
		}
		if string(state[:n]) != "WATCHDOG=1" {
			t.Errorf("systemd heard %q", state[:n])
		}
	}
}
