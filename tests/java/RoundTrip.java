import com.fasterxml.jackson.databind.json.JsonMapper;
import java.nio.file.Files;
import java.nio.file.Path;

/** Reads each file NAME.json of a folder as the record NAME of a package, and writes it again as NAME.written. */
class RoundTrip {
    public static void main(String[] arguments) throws Exception {
        var mapper = JsonMapper.builder().findAndAddModules().build();
        for (int n = 2; n < arguments.length; n++) {
            var record = Class.forName(arguments[1] + "." + arguments[n]);
            var value = mapper.readValue(Files.readAllBytes(Path.of(arguments[0], arguments[n] + ".json")), record);
            Files.write(Path.of(arguments[0], arguments[n] + ".written"), mapper.writeValueAsBytes(value));
        }
    }
}
