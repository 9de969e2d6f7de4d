#!/usr/bin/env bash
# Software: Spring Cloud Stream 5.0.4 (Spring Cloud Function 5.0.5), Spring Boot 4.1.2, Jackson 3.1.7, Kafka 4.2.2.
#
# Behaviour: a function that takes the bytes of a record, `Consumer<byte[]>`, is not handed them. As long as no
# content type is set the type is application/json, and Jackson is asked to read a byte[] out of the value. An
# object fails, and so does what is no JSON. A JSON string is decoded as Base64 and a list of numbers becomes
# a byte each: those arrive without an error, as other bytes than were sent. With the content type
# application/octet-stream, or with native decoding, the bytes arrive as they are.
#
# Other versions: the same with Spring Boot 4.0.9. Spring Cloud Stream 5.0.1 (Spring Boot 4.0.3) and 4.3.1
# (3.5.9) pass on the bytes of what Jackson cannot read as a byte[], so the first two values arrive; the other
# two are changed there as well.
#
# Expected: the value of a record is bytes and the function asks for bytes, so there is nothing to convert. The
# reference says of the converter for application/json that it makes objects (POJO), and does not count a
# byte[] among them; octet-stream is described as kept for older programs.
#
# Seen:
#   no content type set:
#     not JSON         StreamReadException: Unrecognized token 'not': was expecting (JSON String, Number, ...
#     {"total":7}      MismatchedInputException: Cannot deserialize value of type `byte[]` from Object value ...
#     "aGVsbG8="       bytes hello
#     [104,105]        bytes hi
#   application/octet-stream, and native decoding:
#     not JSON         bytes not JSON
#     {"total":7}      bytes {"total":7}
#     "aGVsbG8="       bytes "aGVsbG8="
#     [104,105]        bytes [104,105]
#
# Needs Maven and a JDK of 17 or newer.
set -euo pipefail

for each in mvn javac java; do command -v $each >/dev/null || exit 2; done
folder=$(mktemp -d)
broker=
finish() {
  if [ -n "$broker" ]; then
    kill -KILL "$broker" 2>/dev/null || true
    wait "$broker" 2>/dev/null || true
  fi
  rm -rf "$folder"
}
trap finish EXIT
cd "$folder"
cat >pom.xml <<'XML'
<project>
  <modelVersion>4.0.0</modelVersion>
  <parent>
    <groupId>org.springframework.boot</groupId>
    <artifactId>spring-boot-starter-parent</artifactId>
    <version>4.1.2</version>
    <relativePath/>
  </parent>
  <groupId>shop</groupId>
  <artifactId>shop</artifactId>
  <version>1</version>
  <dependencyManagement>
    <dependencies>
      <dependency>
        <groupId>org.springframework.cloud</groupId>
        <artifactId>spring-cloud-dependencies</artifactId>
        <version>2025.1.4</version>
        <type>pom</type>
        <scope>import</scope>
      </dependency>
    </dependencies>
  </dependencyManagement>
  <dependencies>
    <dependency>
      <groupId>org.springframework.cloud</groupId>
      <artifactId>spring-cloud-stream-binder-kafka</artifactId>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
    </dependency>
  </dependencies>
</project>
XML
mkdir shop
cat >shop/Shop.java <<'JAVA'
package shop;

import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.Consumer;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.messaging.support.ErrorMessage;

@SpringBootApplication
public class Shop {
    static final BlockingQueue<String> seen = new LinkedBlockingQueue<>();

    @Bean
    Consumer<byte[]> orders() {
        return value -> seen.add("bytes " + new String(value, StandardCharsets.ISO_8859_1));
    }

    @Bean
    Consumer<ErrorMessage> failed() {
        return error -> {
            Throwable cause = error.getPayload();
            while (cause.getCause() != null) cause = cause.getCause();
            seen.add(cause.getClass().getSimpleName() + ": " + cause.getMessage().lines().findFirst().orElse(""));
        };
    }

    static List<String> story(String brokers, String topic, String[] values, String... more) throws Exception {
        List<String> settings = new ArrayList<>(List.of(
            "--spring.main.web-application-type=none", "--spring.main.banner-mode=off", "--logging.level.root=off",
            "--spring.cloud.stream.kafka.binder.brokers=" + brokers,
            "--spring.cloud.function.definition=orders",
            "--spring.cloud.stream.bindings.orders-in-0.destination=" + topic,
            "--spring.cloud.stream.bindings.orders-in-0.group=shop",
            "--spring.cloud.stream.bindings.orders-in-0.error-handler-definition=failed",
            "--spring.cloud.stream.bindings.orders-in-0.consumer.max-attempts=1"));
        settings.addAll(List.of(more));
        List<String> results = new ArrayList<>();
        try (var shop = SpringApplication.run(Shop.class, settings.toArray(String[]::new));
             var producer = new KafkaProducer<>(Map.<String, Object>of("bootstrap.servers", brokers),
                 new ByteArraySerializer(), new ByteArraySerializer())) {
            for (String value : values) {
                producer.send(new ProducerRecord<>(topic, value.getBytes(StandardCharsets.UTF_8))).get();
                String result = String.valueOf(seen.poll(60, TimeUnit.SECONDS));
                System.out.printf("  %-16s %s%n", value, result);
                results.add(result);
            }
        }
        return results;
    }

    public static void main(String[] arguments) throws Exception {
        String brokers = arguments[0];
        String[] values = {"not JSON", "{\"total\":7}", "\"aGVsbG8=\"", "[104,105]"};
        System.out.println("no content type set:");
        var plain = story(brokers, "plain", values);
        System.out.println("application/octet-stream:");
        var octets = story(brokers, "octets", values,
            "--spring.cloud.stream.bindings.orders-in-0.content-type=application/octet-stream");
        System.out.println("native decoding:");
        var decoded = story(brokers, "decoded", values,
            "--spring.cloud.stream.bindings.orders-in-0.consumer.use-native-decoding=true");
        var untouched = Arrays.stream(values).map(value -> "bytes " + value).toList();
        var parsed = plain.get(0).startsWith("StreamReadException: Unrecognized token 'not'")
            && plain.get(1).startsWith("MismatchedInputException: Cannot deserialize value of type `byte[]` from Object value")
            && plain.subList(2, 4).equals(List.of("bytes hello", "bytes hi"));
        System.exit(parsed && octets.equals(untouched) && decoded.equals(untouched) ? 0 : 1);
    }
}
JAVA
mvn --quiet --batch-mode -Dmaven.repo.local="$folder/jars" -Dmdep.outputFile=classpath \
  org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath >maven.log 2>&1 || { cat maven.log; exit 2; }
CLASSPATH=.:$(cat classpath)
export CLASSPATH
javac -parameters -d . shop/Shop.java

# A broker of its own.
read -r port controller < <(python3 - <<'PY'
import socket

with socket.socket() as one, socket.socket() as two:
    one.bind(("127.0.0.1", 0))
    two.bind(("127.0.0.1", 0))
    print(one.getsockname()[1], two.getsockname()[1])
PY
)
cat >server.properties <<END
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$controller
log.dirs=log
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
END
id=$(python3 -c 'import uuid; print(uuid.uuid4())')
java kafka.tools.StorageTool format --standalone -t "$id" -c server.properties >format.log 2>&1
java -Xmx512m -XX:TieredStopAtLevel=1 kafka.Kafka server.properties >broker.log 2>&1 &
broker=$!

java -XX:TieredStopAtLevel=1 shop.Shop "127.0.0.1:$port" 2>/dev/null
