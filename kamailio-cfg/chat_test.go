package kamailiocfg_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// chat is a Kamailio for chat.test, an imcd beside it, and two users.
type chat struct {
	k          *evapitest.Kamailio
	imcd       *imcdtest.Imcd
	dir        string // holds the programs
	alice, bob *evapitest.UA
}

// startChat starts a chat, imcd with more flags.
func startChat(t *testing.T, opts evapitest.Options, passwords [2]string, flags ...string) *chat {
	t.Helper()
	opts.Local += "alias=\"chat.test\"\n"
	c := &chat{k: kit.Kamailio(t, opts), dir: programs.Folder(t)}
	c.imcd = imcdtest.Beside(t, c.k, imcdtest.Options{Dir: c.dir, Args: flags})
	c.alice = kit.Registered(t, c.k, evapitest.UAConfig{User: "alice", Domain: "chat.test", Password: passwords[0]})
	c.bob = kit.Registered(t, c.k, evapitest.UAConfig{User: "bob", Domain: "chat.test", Password: passwords[1]})
	return c
}

// runCheck runs imcctl check, which ends with an error if something is wrong.
func (c *chat) runCheck(t *testing.T) (says string, err error) {
	t.Helper()
	cmd := exec.CommandContext(kit.Context(t), filepath.Join(c.dir, "imcctl"), "check", "--rpc", c.imcd.RPCAddr(),
		"--sip", c.k.SIPAddr())
	cmd.Env = imcdtest.Environ("IMCD_EVAPI="+c.k.EvapiAddr(), "IMCD_EVAPI_SECRET="+c.k.Secret(),
		"IMCD_STATE_DIR="+filepath.Join(c.dir, "state"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// member is one of imc.room_info.
type member struct {
	User       string `json:"user"`
	Lag        uint64 `json:"lag"`
	LastResult int    `json:"last_result"`
}

// await waits until the members of a room, and the number of copies under way to anybody, are ok.
func (c *chat) await(t *testing.T, room, what string, ok func(members []member, outstanding int) bool) {
	t.Helper()
	ctx := kit.Within(t, 15*time.Second)
	client, err := evapi.Dial(ctx, c.imcd.RPCAddr(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	kit.Until(t, ctx, what, func() bool {
		var info struct{ Members []member }
		var stats struct {
			Outstanding int `json:"outstanding"`
		}
		if err := client.Call(ctx, "imc.room_info", []string{room}, &info); err != nil {
			t.Fatal(err)
		}
		if err := client.Call(ctx, "imc.stats", nil, &stats); err != nil {
			t.Fatal(err)
		}
		return ok(info.Members, stats.Outstanding)
	})
}
