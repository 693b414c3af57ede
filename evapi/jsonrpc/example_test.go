package jsonrpc_test

import (
	"context"
	"encoding/json"
	"fmt"

	"imcd/evapi/jsonrpc"
)

func ExampleServer_Handle() {
	s := jsonrpc.NewServer(map[string]jsonrpc.Method{
		"echo": func(_ context.Context, params json.RawMessage) (any, error) { return params, nil },
	})
	request := `{"jsonrpc":"2.0","method":"echo","params":["hi"],"id":1}`
	fmt.Println(string(s.Handle(context.Background(), []byte(request))))
	// Output: {"jsonrpc":"2.0","result":["hi"],"id":1}
}
