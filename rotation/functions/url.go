package functions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// invokeURL sends the event to an endpoint that answers as Lambda's runtime interface
// emulator does: what failed is said in the body, whatever the status.
func invokeURL(ctx context.Context, c call) error {
	return post(ctx, http.DefaultClient, c.definition.URL, c)
}

func post(ctx context.Context, client *http.Client, url string, c call) error {
	body, err := json.Marshal(c.event)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("calling the function: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the function's answer: %w", err)
	}
	var failure struct {
		Message *string `json:"errorMessage"`
		Type    string  `json:"errorType"`
	}
	// An answer that is no object is one of success: what a function returns is ignored.
	_ = json.Unmarshal(answer, &failure)
	switch {
	case failure.Message != nil && failure.Type != "":
		return fmt.Errorf("%s: %s", failure.Type, *failure.Message)
	case failure.Message != nil:
		return errors.New(*failure.Message)
	case response.StatusCode < 200 || response.StatusCode > 299:
		return fmt.Errorf("the function's endpoint answered %s", response.Status)
	case response.Header.Get("X-Amz-Function-Error") != "":
		return fmt.Errorf("the function failed (%s)", response.Header.Get("X-Amz-Function-Error"))
	}
	return nil
}
