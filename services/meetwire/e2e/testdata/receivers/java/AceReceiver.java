import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * A receiver of ACE Meetings' webhooks: the page's snippet for Java, on the HTTP server of the JDK. It says on its
 * output, one JSON object a line, where it listens and what it made of each request.
 */
public class AceReceiver {

    /** The part of the Servlet API that the snippet uses, so that no container is needed. */
    interface HttpServletRequest {
        String getHeader(String name);

        InputStream getInputStream();
    }

    public boolean isValid(HttpServletRequest request, String secret) throws Exception {
        String aceSignature = request.getHeader("x-ace-signature");
        SecretKeySpec secretKeySpec = new SecretKeySpec(secret.getBytes(), "HmacSHA256");
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(secretKeySpec);
        String calculatedSignature = Base64.getEncoder().encodeToString(mac.doFinal(request.getInputStream().readAllBytes()));
        return calculatedSignature.equals(aceSignature);
    }

    public static void main(String[] args) throws IOException {
        String secret = System.getenv("SECRET");
        AceReceiver receiver = new AceReceiver();
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", exchange -> {
            byte[] body = exchange.getRequestBody().readAllBytes();
            int status = 500;
            try {
                status = receiver.answer(exchange, body, secret);
            } catch (Exception e) {
                e.printStackTrace();
            }
            exchange.sendResponseHeaders(status, -1);
            exchange.close();
        });
        server.start();
        System.out.println("{\"listening\":\"http://127.0.0.1:" + server.getAddress().getPort() + "/\"}");
    }

    private int answer(HttpExchange exchange, byte[] body, String secret) throws Exception {
        String id = exchange.getRequestHeaders().getFirst("webhook-id");
        boolean valid = isValid(new HttpServletRequest() {
            @Override
            public String getHeader(String name) {
                return exchange.getRequestHeaders().getFirst(name);
            }

            @Override
            public InputStream getInputStream() {
                return new ByteArrayInputStream(body);
            }
        }, secret);
        if (!valid) {
            System.out.println("{\"id\":\"" + id + "\",\"accepted\":false,\"reason\":\"x-ace-signature is not that of the body\"}");
            return 401;
        }
        System.out.println("{\"id\":\"" + id + "\",\"accepted\":true"
            + ",\"agent\":\"" + exchange.getRequestHeaders().getFirst("User-Agent") + "\""
            + ",\"type\":\"" + exchange.getRequestHeaders().getFirst("Content-Type") + "\""
            + ",\"event\":\"" + text(body, "\"event\"") + "\""
            + ",\"eventId\":\"" + text(body, "\"id\"") + "\""
            + ",\"time\":\"" + text(body, "\"created_at\"") + "\""
            + ",\"meeting\":\"" + text(body, "\"data\"\\s*:\\s*\\{\\s*\"id\"") + "\"}");
        return 204;
    }

    /** The text after a name in a body; the JDK has no parser of JSON. */
    private static String text(byte[] body, String name) {
        Matcher member = Pattern.compile(name + "\\s*:\\s*\"([^\"]*)\"").matcher(new String(body, StandardCharsets.UTF_8));
        return member.find() ? member.group(1) : "";
    }
}
