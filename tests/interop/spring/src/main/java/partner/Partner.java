package partner;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

@SpringBootApplication
public class Partner {
    public static void main(String[] arguments) {
        SpringApplication.run(Partner.class, arguments);
    }
}
