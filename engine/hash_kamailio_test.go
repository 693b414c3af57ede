package engine_test

import (
	"strconv"
	"strings"
	"testing"

	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi/evapitest"
)

// hashConfig answers OPTIONS with the hash of the user part as Kamailio sees it.
const hashConfig = `
import_file "kamailio-local.cfg"
loadmodule "xlog.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "siputils.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "corex.so"
loadmodule "kex.so"
loadmodule "jsonrpcs.so"
loadmodule "textops.so"
loadmodule "rr.so"
include_file "imc.cfg"
request_route {
	$var(key) = $(rU{s.tolower}) + "@" + $(rd{s.tolower});
	sl_send_reply("200", "$(var(key){s.corehash})");
}
route[AUTH] { return; }
`

func TestHashIsKamailios(t *testing.T) {
	k, err := evapitest.StartKamailio(t.Context(), evapitest.Options{Config: hashConfig, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Stop()
	ua, err := evapitest.NewUA(evapitest.UAConfig{User: "alice", Domain: "example.org", Proxy: k.SIPAddr()})
	if err != nil {
		t.Fatal(err)
	}
	defer ua.Close()
	for _, user := range []string{"a", "ab", "abc", "abcd", "chat-1", "Chat-Room.22", strings.Repeat("xyz", 20)} {
		res, err := ua.Do(t.Context(), evapitest.Request{Method: "OPTIONS", URI: "sip:" + user + "@Example.org"})
		if err != nil {
			t.Fatal(err)
		}
		h := engine.Hash(store.Name{User: user, Host: "Example.org"}.Key())
		if want := strconv.FormatUint(uint64(h), 10); res.Reason != want {
			t.Errorf("%s: Kamailio's corehash is %q, ours %s", user, res.Reason, want)
		}
	}
}
