// Delivery as a Go team writes it with franz-go: starts a delivery for each order, but not to the islands. A repeated request gets the same
// answer. State is in memory; an offset is committed after its answer.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"
)

type deliveryRequest struct {
	OrderID string  `json:"orderId"`
	Zipcode *string `json:"zipcode"`
}

type deliveryStart struct {
	OrderID    string  `json:"orderId"`
	DeliveryID *string `json:"deliveryId"`
	Status     string  `json:"status"`
}

type delivery struct {
	kafka   *kgo.Client
	started map[string]string
}

func (d *delivery) requested(ctx context.Context, record *kgo.Record) error {
	var request deliveryRequest
	if err := json.Unmarshal(record.Value, &request); err != nil {
		return err
	}
	answer := deliveryStart{OrderID: request.OrderID, Status: "FAILED"}
	if request.Zipcode == nil || !strings.HasPrefix(*request.Zipcode, "63") {
		id, known := d.started[request.OrderID]
		if !known {
			id = newUUID()
			d.started[request.OrderID] = id
		}
		answer.DeliveryID, answer.Status = &id, "STARTED"
	}
	value, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	reply := &kgo.Record{Topic: "delivery-start-topic", Key: []byte(request.OrderID), Value: value}
	return d.kafka.ProduceSync(ctx, reply).FirstErr()
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var ready atomic.Bool
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Getenv("PARTNER_BOOTSTRAP"), ",")...),
		kgo.ConsumerGroup("delivery-group"),
		kgo.ConsumeTopics("delivery-request-topic"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { ready.Store(true) }),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	http.HandleFunc("/partner/ready", func(response http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			response.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	go func() { log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PARTNER_PORT"), nil)) }()

	service := &delivery{kafka: client, started: map[string]string{}}
	for {
		fetched := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		if err := fetched.Err(); err != nil {
			log.Fatal(err)
		}
		for _, record := range fetched.Records() {
			if err := service.requested(ctx, record); err != nil {
				log.Fatal(err)
			}
		}
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			log.Fatal(err)
		}
	}
}
