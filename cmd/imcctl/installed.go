package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// operatorFile is where the Debian package puts the operator's secret, beside
// imcd.yaml.
const operatorFile = "operator"

// installation holds the addresses and secrets in imcd's configuration. Secrets that
// this user may not read are empty: imcd then says that it wants one.
type installation struct {
	rpc, http string   // host:port
	evapi     []string // host:port of each Kamailio
	token     string   // rpc_token
	operator  string   // the operator's secret, for evapi
}

// installed reads imcd's configuration: the file of -c, which must be readable, or
// the usual one, which need not be there. Only the settings that imcctl needs are
// looked at: imcd -check is for the others.
func (t *tool) installed() (*installation, error) {
	known := &installation{rpc: defaultRPC, http: defaultHTTP, evapi: []string{defaultEvapi}}
	path := cmp.Or(t.config, t.usual)
	text, err := os.ReadFile(path)
	if t.config == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		t.hidden = t.hidden || errors.Is(err, fs.ErrPermission)
		return known, nil
	}
	if err != nil {
		return nil, fmt.Errorf("-c: %w", err)
	}
	var set struct {
		RPC       string `yaml:"rpc_listen"`
		HTTP      string `yaml:"http_listen"`
		Evapi     any    `yaml:"evapi"`
		Token     string `yaml:"rpc_token"`
		TokenFile string `yaml:"rpc_token_file"`
	}
	if err := yaml.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("configuration file %s: %w", path, err)
	}
	known.rpc = cmp.Or(reachable(set.RPC), known.rpc)
	known.http = cmp.Or(reachable(set.HTTP), known.http)
	if addrs := kamailios(set.Evapi); len(addrs) > 0 {
		known.evapi = addrs
	}
	known.token = set.Token
	if set.TokenFile != "" {
		known.token = firstLine(set.TokenFile)
	}
	known.operator = firstLine(filepath.Join(filepath.Dir(path), operatorFile))
	return known, nil
}

// token returns the token for imcd; empty: none. That of the configuration is
// shown only to the imcd of the configuration.
func (t *tool) token(known *installation, own bool) (string, error) {
	token, err := t.secret("--token-file", t.tokenFile, tokenEnv)
	if token == "" && own {
		token = known.token
	}
	return token, err
}

// explain adds advice to imcd's refusal of a request without its token, if there is some
// it here.
func (t *tool) explain(err error) error {
	if err == nil || !t.hidden || !strings.Contains(err.Error(), "token") {
		return err
	}
	return fmt.Errorf("%w; %s has it for root and the members of the group imcd", err, t.usual)
}

// kamailios are the addresses in the setting evapi: one text with commas, or a list
// of texts and of objects with addr.
func kamailios(value any) (addrs []string) {
	switch v := value.(type) {
	case string:
		for one := range strings.SplitSeq(v, ",") {
			if one = strings.TrimSpace(one); one != "" {
				addrs = append(addrs, one)
			}
		}
	case []any:
		for _, one := range v {
			addrs = append(addrs, kamailios(one)...)
		}
	case map[string]any:
		addrs = kamailios(v["addr"])
	}
	return addrs
}

// reachable is an address to connect to for one that is listened on: a port of all
// addresses is asked on this host.
func reachable(listen string) string {
	for _, all := range []string{"0.0.0.0:", "[::]:", ":"} {
		if port, ok := strings.CutPrefix(listen, all); ok {
			return "127.0.0.1:" + port
		}
	}
	return listen
}

// firstLine reads a secret; empty if it cannot be read.
func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimRight(line, "\r")
}
