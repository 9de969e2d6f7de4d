package partner;

import org.springframework.stereotype.Component;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PutMapping;
import org.springframework.web.bind.annotation.RestController;

/** A bug that an operator can deploy and mend: listeners throw, or messages go out with a wrong word in them. */
@Component
@RestController
class Bug {
    enum Kind { NONE, THROWS, WRONG_WORD }

    private volatile Kind kind = Kind.NONE;

    @PutMapping("/partner/bug/{kind}")
    void set(@PathVariable("kind") Kind kind) {
        this.kind = kind;
    }

    void strike() {
        if (kind == Kind.THROWS) {
            throw new IllegalStateException("a bug of the partner's");
        }
    }

    String word(String right) {
        return kind == Kind.WRONG_WORD ? "DONE" : right;
    }

    int quantity(int right) {
        return kind == Kind.WRONG_WORD ? 0 : right;
    }
}
