// The service that a Go team would write today: gRPC in, HTTP out, a goroutine and a poll a second for
// each watcher. It speaks SubmitVideo and WatchPrediction of our contract.
//
// Nothing is on disk; the upstream id serves as prediction id. A request_id that was answered is
// answered again from memory; an error of WaveSpeed's becomes UNAVAILABLE, which callers retry.
//
//	go_service PORTS_FILE BASE_URL API_KEY MODEL
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "dreamgate.dev/gen/go/dreamgate/v1"
)

const (
	pollInterval   = time.Second
	longestCall    = 30 * time.Second
	longestWatch   = time.Hour
	connections    = 256 // to WaveSpeed, at once; further calls wait for one
	longestMessage = 1 << 20
)

var states = map[string]pb.PredictionState{
	"created":    pb.PredictionState_PREDICTION_STATE_CREATED,
	"processing": pb.PredictionState_PREDICTION_STATE_PROCESSING,
	"completed":  pb.PredictionState_PREDICTION_STATE_COMPLETED,
	"failed":     pb.PredictionState_PREDICTION_STATE_FAILED,
	"cancelled":  pb.PredictionState_PREDICTION_STATE_CANCELLED,
	"timeout":    pb.PredictionState_PREDICTION_STATE_TIMED_OUT,
	"deleted":    pb.PredictionState_PREDICTION_STATE_DELETED,
}

type task struct {
	ID      string   `json:"id"`
	Status  string   `json:"status"`
	Outputs []string `json:"outputs"`
}

type service struct {
	pb.UnimplementedVideoServiceServer
	client              *http.Client
	baseURL, key, model string

	mutex       sync.Mutex
	byRequestID map[string]*pb.Prediction
}

// call returns the task that WaveSpeed answers with, or a gRPC status.
func (s *service) call(ctx context.Context, method, path string, body []byte) (*task, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.baseURL+"/api/v3/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	request.Header.Set("Authorization", "Bearer "+s.key)
	request.Header.Set("Content-Type", "application/json")
	answer, err := s.client.Do(request)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, longestMessage))
	if err != nil || answer.StatusCode >= 500 {
		return nil, status.Errorf(codes.Unavailable, "upstream: %s %v", answer.Status, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, status.Errorf(codes.InvalidArgument, "upstream: %s", text)
	}
	var envelope struct{ Data task }
	if err := json.Unmarshal(text, &envelope); err != nil {
		return nil, status.Errorf(codes.Unavailable, "upstream: %v", err)
	}
	return &envelope.Data, nil
}

func (s *service) prediction(t *task, sequence int64) *pb.Prediction {
	prediction := &pb.Prediction{
		Id: t.ID, UpstreamId: t.ID, UpstreamStatus: t.Status, Model: s.model, Sequence: sequence,
		State: cmp.Or(states[t.Status], pb.PredictionState_PREDICTION_STATE_PROCESSING),
	}
	for _, url := range t.Outputs {
		prediction.Outputs = append(prediction.Outputs, &pb.Output{Url: url})
	}
	return prediction
}

func (s *service) SubmitVideo(ctx context.Context, request *pb.SubmitVideoRequest) (*pb.SubmitVideoResponse, error) {
	s.mutex.Lock()
	known := s.byRequestID[request.RequestId]
	s.mutex.Unlock()
	if known != nil {
		return &pb.SubmitVideoResponse{Prediction: known, Replayed: true}, nil
	}
	body, err := json.Marshal(map[string]any{"prompt": request.Prompt, "aspect_ratio": "16:9", "seed": -1})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	made, err := s.call(ctx, http.MethodPost, s.model, body)
	if err != nil {
		return nil, err
	}
	prediction := s.prediction(made, 1)
	s.mutex.Lock()
	s.byRequestID[request.RequestId] = prediction
	s.mutex.Unlock()
	return &pb.SubmitVideoResponse{Prediction: prediction}, nil
}

// WatchPrediction runs in a goroutine of its own for each watcher, as every handler of grpc-go does.
func (s *service) WatchPrediction(request *pb.WatchPredictionRequest, stream grpc.ServerStreamingServer[pb.WatchPredictionResponse]) error {
	ctx, cancel := context.WithTimeout(stream.Context(), longestWatch)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	shown := ""
	for sequence := int64(1); ; {
		now, err := s.call(ctx, http.MethodGet, "predictions/"+request.PredictionId+"/result", nil)
		if err == nil && now.Status != shown { // after an error: polls again
			update := &pb.WatchPredictionResponse_Update{Update: s.prediction(now, sequence)}
			if err := stream.Send(&pb.WatchPredictionResponse{Event: update}); err != nil {
				return err
			}
			shown = now.Status
			sequence++
			if update.Update.State >= pb.PredictionState_PREDICTION_STATE_COMPLETED {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-ticker.C:
		}
	}
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: go_service PORTS_FILE BASE_URL API_KEY MODEL")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost = connections
	transport.MaxIdleConns = connections
	transport.MaxIdleConnsPerHost = connections // 2 by default
	videos := &service{
		client:  &http.Client{Transport: transport, Timeout: longestCall},
		baseURL: os.Args[2], key: os.Args[3], model: os.Args[4],
		byRequestID: map[string]*pb.Prediction{},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterVideoServiceServer(server, videos)
	ports := fmt.Sprintf("grpc=%d\n", listener.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(os.Args[1]+".new", []byte(ports), 0o600); err != nil {
		log.Fatal(err)
	}
	if err := os.Rename(os.Args[1]+".new", os.Args[1]); err != nil {
		log.Fatal(err)
	}
	stopped, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go func() { <-stopped.Done(); server.Stop() }()
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
