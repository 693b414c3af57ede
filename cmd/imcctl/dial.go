package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"imcd/evapi"
	"imcd/evapi/jsonrpc"
)

// Where secrets come from if no file is named.
const (
	secretEnv = "IMCD_OPERATOR_SECRET" // of --evapi
	tokenEnv  = "IMCD_RPC_TOKEN"       // of --rpc; imcd's own variable
)

// Where imcd and Kamailio are asked if nobody says otherwise.
const (
	defaultRPC   = "127.0.0.1:8449"
	defaultHTTP  = "127.0.0.1:8450"
	defaultEvapi = "127.0.0.1:8448"
)

// dial connects to imcd through the door that was asked for.
func (t *tool) dial(ctx context.Context) (*jsonrpc.Client, error) {
	known, err := t.installed()
	if err != nil {
		return nil, err
	}
	if t.evapi == "" {
		return t.dialRPC(ctx, known)
	}
	secret, err := t.secret("--secret-file", t.secretFile, secretEnv)
	if err == nil && secret == "" && slices.Contains(known.evapi, t.evapi) {
		secret = known.operator
	}
	if err == nil && secret == "" {
		err = errors.New("--evapi needs the operator's secret: --secret-file FILE or $" + secretEnv)
	}
	if err != nil {
		return nil, err
	}
	t.asking = true
	c, err := evapi.DialKamailio(ctx, t.evapi, secret)
	return c, hint(err, "is Kamailio's evapi socket at "+t.evapi+"?")
}

func (t *tool) dialRPC(ctx context.Context, known *installation) (*jsonrpc.Client, error) {
	addr := cmp.Or(t.rpc, known.rpc)
	token, err := t.token(known, addr == known.rpc)
	if err != nil {
		return nil, err
	}
	t.asking = true
	c, err := evapi.Dial(ctx, addr, token)
	return c, hint(plain(err), "is imcd running at "+addr+"?")
}

// getenv returns the value of a variable; empty if it is not set.
func (t *tool) getenv(name string) string {
	for _, kv := range t.environ {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// hint adds a question to the error of a port that nobody listens on.
func hint(err error, question string) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w; %s", err, question)
	}
	return err
}

// secret reads a secret from the first line of a file, else from a variable;
// empty: there is none.
func (t *tool) secret(flag, file, variable string) (string, error) {
	if file == "" {
		return t.getenv(variable), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", fmt.Errorf("%s: the first line of %s is empty", flag, file)
	}
	return line, nil
}
