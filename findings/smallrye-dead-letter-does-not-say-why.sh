#!/usr/bin/env bash
# Software: SmallRye Reactive Messaging 4.33.0 (Kafka connector) on Weld 6.0.3, Kafka 4.1.1. Not tried in Quarkus.
#
# Behaviour: a method with @Incoming throws, and the record goes to the dead letter topic. No header of the
# letter has the class or the message of what was thrown: the reason is a ProcessingException, and its cause an
# InvocationTargetException, which is how Java's reflection wraps it and has no message of its own. A
# method that returns a failed CompletionStage with the same exception has both in its letter.
#
# Expected: `dead-letter-cause` and `dead-letter-cause-class-name` are there to tell why the record failed, and
# a letter says the same whether the exception was thrown or handed back.
#
# Seen (the headers in question):
#   plain:
#     dead-letter-cause                  java.lang.reflect.InvocationTargetException
#     dead-letter-cause-class-name       java.lang.reflect.InvocationTargetException
#     dead-letter-exception-class-name   io.smallrye.reactive.messaging.providers.ProcessingException
#     dead-letter-reason                 SRMSG00103: Exception thrown when calling the method shop.Shop#take
#   stage:
#     dead-letter-exception-class-name   java.lang.IllegalStateException
#     dead-letter-reason                 order 7 is not known
#
# Needs Maven and a JDK of 17 or newer.
set -euo pipefail

for each in mvn javac java; do command -v $each >/dev/null || exit 2; done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >pom.xml <<'XML'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>shop</groupId>
  <artifactId>shop</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>io.smallrye.reactive</groupId>
      <artifactId>smallrye-reactive-messaging-kafka</artifactId>
      <version>4.33.0</version>
    </dependency>
    <dependency>
      <groupId>org.jboss.weld.se</groupId>
      <artifactId>weld-se-core</artifactId>
      <version>6.0.3.Final</version>
    </dependency>
    <dependency>
      <groupId>io.smallrye.config</groupId>
      <artifactId>smallrye-config</artifactId>
      <version>3.13.4</version>
    </dependency>
    <dependency>
      <groupId>io.smallrye</groupId>
      <artifactId>jandex</artifactId>
      <version>3.4.0</version>
    </dependency>
    <dependency>
      <groupId>org.eclipse.microprofile.reactive-streams-operators</groupId>
      <artifactId>microprofile-reactive-streams-operators-core</artifactId>
      <version>3.0.1</version>
    </dependency>
    <dependency>
      <groupId>org.springframework.kafka</groupId>
      <artifactId>spring-kafka-test</artifactId>
      <version>4.0.1</version>
    </dependency>
  </dependencies>
</project>
XML
mkdir shop META-INF
cat >META-INF/beans.xml <<'XML'
<beans xmlns="https://jakarta.ee/xml/ns/jakartaee" version="4.0" bean-discovery-mode="all"/>
XML
cat >shop/Shop.java <<'JAVA'
package shop;

import jakarta.enterprise.context.ApplicationScoped;
import jakarta.enterprise.inject.se.SeContainerInitializer;
import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;
import org.eclipse.microprofile.reactive.messaging.*;
import org.springframework.kafka.test.EmbeddedKafkaKraftBroker;

@ApplicationScoped
public class Shop {
    static IllegalStateException failure() {
        return new IllegalStateException("order 7 is not known");
    }

    @Incoming("plain")
    public void take(String value) {
        throw failure();
    }

    @Incoming("stage")
    public CompletionStage<Void> takeLater(String value) {
        return CompletableFuture.failedFuture(failure());
    }

    public static void main(String[] arguments) throws Exception {
        var broker = new EmbeddedKafkaKraftBroker(1, 1, "plain", "stage", "dead-letter-topic-plain", "dead-letter-topic-stage");
        broker.afterPropertiesSet();
        String brokers = broker.getBrokersAsString();
        for (String channel : List.of("plain", "stage")) {
            Map.of("connector", "smallrye-kafka", "bootstrap.servers", brokers, "auto.offset.reset", "earliest", "group.id", channel,
                "value.deserializer", StringDeserializer.class.getName(), "failure-strategy", "dead-letter-queue")
                .forEach((name, value) -> System.setProperty("mp.messaging.incoming." + channel + "." + name, value));
        }
        var container = SeContainerInitializer.newInstance().initialize();
        Map<String, Object> settings = Map.of("bootstrap.servers", brokers, "auto.offset.reset", "earliest", "group.id", "letters");
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (String channel : List.of("plain", "stage")) producer.send(new ProducerRecord<>(channel, "7")).get();
        }
        Map<String, Map<String, String>> letters = new TreeMap<>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of("dead-letter-topic-plain", "dead-letter-topic-stage"));
            long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
            while (letters.size() < 2 && System.nanoTime() < until) {
                for (var letter : consumer.poll(Duration.ofSeconds(1))) {
                    Map<String, String> headers = new TreeMap<>();
                    letter.headers().forEach(header -> headers.put(header.key(), new String(header.value())));
                    letters.put(letter.topic(), headers);
                }
            }
        }
        StringBuilder seen = new StringBuilder();
        letters.forEach((topic, headers) -> {
            seen.append(topic.replace("dead-letter-topic-", "")).append(":\n");
            headers.forEach((name, value) -> seen.append("  %-34s %s%n".formatted(name, value)));
        });
        Files.writeString(Path.of("seen"), seen);
        var thrown = letters.getOrDefault("dead-letter-topic-plain", Map.of());
        var later = letters.getOrDefault("dead-letter-topic-stage", Map.of());
        boolean lost = "java.lang.reflect.InvocationTargetException".equals(thrown.get("dead-letter-cause"))
            && "java.lang.reflect.InvocationTargetException".equals(thrown.get("dead-letter-cause-class-name"))
            && thrown.values().stream().noneMatch(value -> value.contains("IllegalState") || value.contains("not known"));
        boolean kept = "java.lang.IllegalStateException".equals(later.get("dead-letter-exception-class-name"))
            && "order 7 is not known".equals(later.get("dead-letter-reason"));
        System.exit(lost && kept ? 0 : 1);
    }
}
JAVA
mvn --quiet --batch-mode -Dmaven.repo.local="$folder/jars" -Dmdep.outputFile=classpath \
  org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath >maven.log 2>&1 || { cat maven.log; exit 2; }
CLASSPATH=.:$(cat classpath)
export CLASSPATH
javac -d . shop/Shop.java

# The broker writes its files into the temporary folder of Java. The log has the exceptions in full.
mkdir temporary
result=0
java -Djava.io.tmpdir="$folder/temporary" -XX:TieredStopAtLevel=1 shop.Shop >log 2>&1 || result=$?
cat seen || tail log
exit "$result"
