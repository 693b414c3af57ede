package evapi

import (
	"context"
	"fmt"
	"net"

	"imcd/evapi/jsonrpc"
)

// maxRequest bounds a request to imcd's own RPC port.
const maxRequest = 16 << 20

// Dial connects to imcd's own RPC port. With a token it says hello; a wrong one is a
// *jsonrpc.Error.
func Dial(ctx context.Context, addr, token string) (*jsonrpc.Client, error) {
	c, err := connect(ctx, "imcd", addr, maxRequest)
	if err != nil || token == "" {
		return c, err
	}
	return greeted(ctx, c, token)
}

// DialKamailio connects to Kamailio's evapi as an operator, within 5 seconds. Calls then
// go through Kamailio to the engine.
func DialKamailio(ctx context.Context, addr, secret string) (*jsonrpc.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultDialTimeout)
	defer cancel()
	c, err := connect(ctx, "Kamailio", addr, maxPayload)
	if err != nil {
		return nil, err
	}
	return greeted(ctx, c, secret)
}

func connect(ctx context.Context, name, addr string, max int) (*jsonrpc.Client, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	return jsonrpc.NewClient(newWireConn(nc, 0), max), nil
}

// greeted returns c after a hello with a secret; it closes c if there is no welcome.
func greeted(ctx context.Context, c *jsonrpc.Client, secret string) (*jsonrpc.Client, error) {
	if err := greet(ctx, c, secret); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// greet says hello and reads the welcome.
func greet(ctx context.Context, c *jsonrpc.Client, secret string) error {
	if err := checkSecret(secret); err != nil {
		return err
	}
	payload, err := c.Greet(ctx, helloPayload(secret, ""))
	if err != nil {
		return welcomeError(err, false)
	}
	if r, err := jsonrpc.DecodeResponse(payload); err == nil && r.Error != nil {
		return r.Error
	}
	ev, err := DecodeEvent(payload)
	if err != nil {
		return fmt.Errorf("await welcome of Kamailio: %w", err)
	}
	w, ok := ev.(*WelcomeEvent)
	if !ok {
		return fmt.Errorf("await welcome of Kamailio: got %T first", ev)
	}
	if w.Role != RoleOperator {
		return fmt.Errorf("hello to Kamailio: the secret is that of role %q, not the operator's", w.Role)
	}
	return nil
}
