package partner;

import org.springframework.http.ResponseEntity;
import org.springframework.kafka.config.KafkaListenerEndpointRegistry;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** 200 once each listener has partitions. */
@RestController
class Ready {
    private final KafkaListenerEndpointRegistry listeners;

    Ready(KafkaListenerEndpointRegistry listeners) {
        this.listeners = listeners;
    }

    @GetMapping("/partner/ready")
    ResponseEntity<String> ready() {
        var waiting = listeners.getListenerContainers().stream()
                .filter(each -> each.getAssignedPartitions() == null || each.getAssignedPartitions().isEmpty())
                .map(each -> each.getListenerId())
                .toList();
        return ResponseEntity.status(waiting.isEmpty() ? 200 : 503).body(waiting.toString());
    }
}
