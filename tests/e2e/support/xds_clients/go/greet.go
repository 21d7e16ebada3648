package main

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

const method = "/greet.GreetService/Greet"

// bytesCodec passes encoded messages through. The messages are so small that generated code is not worth it.
type bytesCodec struct{}

func (bytesCodec) Name() string                  { return "proto" }
func (bytesCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// greet calls GreetService/Greet and returns the Result.
func greet(ctx context.Context, connection *grpc.ClientConn) (string, error) {
	request, response := request("Ada", "Lovelace"), []byte(nil)
	if err := connection.Invoke(ctx, method, &request, &response, grpc.ForceCodec(bytesCodec{})); err != nil {
		return "", err
	}
	return result(response)
}

// request encodes GreetingRequest{greeting = 1 {first_name = 1, last_name = 2}}.
func request(first, last string) []byte {
	greeting := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), first)
	greeting = protowire.AppendString(protowire.AppendTag(greeting, 2, protowire.BytesType), last)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), greeting)
}

// result decodes GreetingResponse{Result = 1}.
func result(response []byte) (string, error) {
	number, kind, length := protowire.ConsumeTag(response)
	if length < 0 || number != 1 || kind != protowire.BytesType {
		return "", errors.New("invalid response: expected a GreetingResponse")
	}
	text, length := protowire.ConsumeString(response[length:])
	if length < 0 {
		return "", protowire.ParseError(length)
	}
	return text, nil
}
