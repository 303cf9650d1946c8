"""Google's generateContent."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.things.base import PDF, PNG, SCHEMA, Body, Thing, each, put, thing

GENERATE: Body = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
GENERATE_TOOLS: Body = {
    **GENERATE,
    "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": SCHEMA}]}],
}
GENERATE_TURN: Body = {
    **GENERATE_TOOLS,
    "contents": [
        *GENERATE["contents"],
        {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Rome"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"output": "Sunny."}}}]},
    ],
}
GENERATE_SAID: Body = {
    "contents": [*GENERATE["contents"], {"role": "model", "parts": [{"text": "Hi."}]}, *GENERATE["contents"]]
}


def things() -> Iterator[Thing]:
    yield from each(
        GENERATE,
        ("temperature", 0.37),
        ("topP", 0.83, "top_p"),
        ("topK", 37, "top_k"),
        ("maxOutputTokens", 377, "max_tokens"),
        ("stopSequences", ["zqstop"], "stop"),
        ("seed", 41),
        ("presencePenalty", 0.7, "presence_penalty"),
        ("frequencyPenalty", 0.6, "frequency_penalty"),
        ("candidateCount", 2, "n"),
        ("responseMimeType", "application/json", "response_format"),
        ("responseMimeType", "text/x.enum", "response_format"),
        ("responseModalities", ["IMAGE"]),
        ("responseModalities", ["AUDIO"]),
        ("mediaResolution", "MEDIA_RESOLUTION_MEDIUM"),
        ("speechConfig", {"languageCode": "zq"}),
        ("responseLogprobs", True, "logprobs"),
        ("logprobs", 3),
        ("audioTimestamp", True),
        ("imageConfig", {"aspectRatio": "1:1"}),
        ("thinkingConfig", {"thinkingBudget": 2048}, "reasoning_effort"),
        ("thinkingConfig", {"thinkingBudget": 0}, "reasoning_effort"),
        ("thinkingConfig", {"thinkingLevel": "HIGH"}, "reasoning_effort"),
        ("thinkingConfig", {"includeThoughts": True}, "reasoning_effort"),
        ("enableEnhancedCivicAnswers", True),
        ("zqUnknown", "zqvalue"),
        under="generationConfig",
    )
    with_image = put(GENERATE, "contents.0.parts.+", {"inlineData": {"mimeType": "image/png", "data": PNG}})
    yield thing(with_image, "generationConfig.mediaResolution", "MEDIA_RESOLUTION_LOW", "detail", "image_url")
    with_json = put(GENERATE, "generationConfig.responseMimeType", "application/json")
    words = ("response_format",)
    yield thing(with_json, "generationConfig.responseJsonSchema", SCHEMA, *words)
    yield thing(with_json, "generationConfig.responseSchema", {"type": "OBJECT", "title": "zqtitle"}, *words)
    yield from each(
        GENERATE,
        ("systemInstruction", {"parts": [{"text": "zqsystem"}]}),
        ("systemInstruction", {"parts": [{"text": "zqone"}, {"text": "zqtwo"}]}),
        ("safetySettings", [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_LOW_AND_ABOVE"}]),
        ("safetySettings", [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}]),
        ("labels", {"zq": "zqvalue"}, "metadata"),
        ("cachedContent", "cachedContents/zq"),
        ("serviceTier", "flex"),
        ("store", True),
        ("tools", [{"googleSearch": {}}]),
        ("tools", [{"codeExecution": {}}]),
        ("tools", [{"urlContext": {}}]),
        ("zqUnknown", "zqvalue"),
        ("contents.0.parts.+", {"inlineData": {"mimeType": "image/png", "data": PNG}}, "image_url"),
        ("contents.0.parts.+", {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}, "input_audio"),
        ("contents.0.parts.+", {"inlineData": {"mimeType": "video/mp4", "data": "UklGRg=="}}, "video_url"),
        ("contents.0.parts.+", {"inlineData": {"mimeType": "application/pdf", "data": PDF}}, "file"),
        (
            "contents.0.parts.+",
            {"inlineData": {"mimeType": "image/png", "data": PNG, "displayName": "zqname"}},
            "displayName",
        ),
        (
            "contents.0.parts.+",
            {"fileData": {"mimeType": "image/png", "fileUri": "https://zq.test/a.png"}},
            "image_url",
        ),
        ("contents.0.parts.+", {"fileData": {"mimeType": "application/pdf", "fileUri": "https://zq.test/f"}}, "file"),
        ("contents.0.parts.+", {"fileData": {"mimeType": "audio/mp3", "fileUri": "https://zq.test/f"}}, "file"),
        ("contents.0.parts.+", {"executableCode": {"language": "PYTHON", "code": "zq"}}, "executableCode"),
        ("contents.0.parts.+", {"codeExecutionResult": {"outcome": "OK", "output": "zq"}}, "codeExecutionResult"),
        ("contents.0.parts.0.videoMetadata", {"fps": 2}),
        ("contents.0.parts.0.partMetadata", {"zq": 1}),
        ("contents.0.parts.0.mediaResolution", {"level": "MEDIA_RESOLUTION_LOW"}),
    )
    calling = "toolConfig.functionCallingConfig"
    yield from each(
        GENERATE_TOOLS,
        ("tools.0.functionDeclarations.0.description", "zqdescription"),
        ("tools.0.functionDeclarations.0.response", {"type": "STRING"}),
        ("tools.0.functionDeclarations.0.behavior", "NON_BLOCKING"),
        ("tools.+", {"functionDeclarations": [{"name": "zqother", "parameters": {"type": "OBJECT"}}]}),
        (calling, {"mode": "ANY"}),
        (calling, {"mode": "NONE"}),
        (calling, {"mode": "VALIDATED"}),
        (calling, {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
        (calling, {"mode": "ZQ"}),
        ("toolConfig.retrievalConfig", {"languageCode": "zq"}),
        words=(
            "tool_choice",
            "mode",
            "strict",
        ),
    )
    two = put(GENERATE_TOOLS, "tools.0.functionDeclarations.+", {"name": "other"})
    two = put(two, "tools.0.functionDeclarations.+", {"name": "third"})
    yield thing(two, calling, {"mode": "ANY", "allowedFunctionNames": ["weather", "other"]}, "tool_choice")
    yield from each(
        GENERATE_TURN,
        ("contents.1.parts.0.thoughtSignature", "enFzaWc="),
        ("contents.1.parts.0.functionCall.id", "zqid"),
        ("contents.1.parts.+", {"text": "zqsaid"}),
        ("contents.2.parts.0.functionResponse.response", {"error": "zqfailed"}),
        ("contents.2.parts.0.functionResponse.willContinue", True),
        ("contents.2.parts.0.functionResponse.scheduling", "SILENT"),
        (
            "contents.2.parts.0.functionResponse.parts",
            [{"inlineData": {"mimeType": "image/png", "data": PNG}}],
        ),
        ("contents.2.parts.+", {"text": "zqafter"}),
        words=(
            "extra_content",
            "id",
            "tool_calls",
            "image_url",
            "is_error",
        ),
    )
    yield thing(GENERATE_SAID, "contents.1.parts.0.thoughtSignature", "enFzaWc=", "extra_content")
    yield thing(GENERATE_SAID, "contents.1.parts.+", {"text": "zqthought", "thought": True}, "reasoning_content")
    signed = {"text": "zqthought", "thought": True, "thoughtSignature": "enFzaWc="}
    yield thing(GENERATE_SAID, "contents.1.parts.+", signed, "reasoning_content", "thinking_blocks")
