// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {LatticeModels} from "./LatticeModels.sol";

/// @title The AI operations of the chain for ordinary contracts.
/// @notice Five precompiles (TENSOR_OP, MODEL_LOAD, MODEL_EXEC, ZK_PROVE, ZK_VERIFY) and the doors of the registry
/// (MODELS), of trainings (TRAINING) and of recorded inferences (INFERENCE). Every function reverts with the operation's own reason when it fails.
/// AI containers have the five as instructions, with the same results for the same gas.
library Lattice {
    address internal constant TENSOR_OP = address(0xa1f0);
    address internal constant ZK_PROVE = address(0xa1f3);
    address internal constant ZK_VERIFY = address(0xa1f4);
    address internal constant MODELS = address(0xa1000);
    address internal constant TRAINING = address(0xa2000);
    address internal constant INFERENCE = address(0xa3000);

    /// Element types of tensors.
    enum Element {
        None,
        I8,
        I32,
        F32
    }

    /// What became of a proof request.
    enum ProofStatus {
        Pending,
        Ok,
        Expired
    }

    uint8 private constant ADD = 1;
    uint8 private constant MUL = 2;
    uint8 private constant MATMUL = 3;
    uint8 private constant DOT = 4;
    uint8 private constant RELU = 5;
    uint8 private constant SOFTMAX = 6;
    uint8 private constant LAYERNORM = 7;
    uint8 private constant ARGMAX = 8;
    uint8 private constant QUANTISE = 9;
    uint8 private constant DEQUANTISE = 10;

    /// The operation failed without a reason of its own: most likely the gas ran out.
    error OperationFailed(address door);
    /// The payload is longer than this library encodes.
    error TooLong(uint256 length);

    /// @notice `a + b`, element by element, for tensors [m, k]. i8 gives i32.
    function add(Element element, uint32 m, uint32 k, bytes memory a, bytes memory b) internal view returns (bytes memory) {
        return tensorOp(ADD, element, m, k, 1, "", abi.encodePacked(a, b));
    }

    /// @notice `a * b`, element by element, for tensors [m, k]. i8 gives i32.
    function mul(Element element, uint32 m, uint32 k, bytes memory a, bytes memory b) internal view returns (bytes memory) {
        return tensorOp(MUL, element, m, k, 1, "", abi.encodePacked(a, b));
    }

    /// @notice a [m, k] times b [k, n]. i8 gives i32.
    function matmul(Element element, uint32 m, uint32 k, uint32 n, bytes memory a, bytes memory b)
        internal
        view
        returns (bytes memory)
    {
        return tensorOp(MATMUL, element, m, k, n, "", abi.encodePacked(a, b));
    }

    /// @notice The dot product of each of m pairs of rows of k. i8 gives i32.
    function dot(Element element, uint32 m, uint32 k, bytes memory a, bytes memory b) internal view returns (bytes memory) {
        return tensorOp(DOT, element, m, k, 1, "", abi.encodePacked(a, b));
    }

    /// @notice 0 for negative elements, the element otherwise.
    function relu(Element element, uint32 m, uint32 k, bytes memory x) internal view returns (bytes memory) {
        return tensorOp(RELU, element, m, k, 1, "", x);
    }

    /// @notice Softmax of each of m rows of k f32.
    function softmax(uint32 m, uint32 k, bytes memory x) internal view returns (bytes memory) {
        return tensorOp(SOFTMAX, Element.F32, m, k, 1, "", x);
    }

    /// @notice (x - mean) / sqrt(variance + epsilon) of each of m rows of k f32. `epsilon` is the bits of an f32.
    function layernorm(uint32 m, uint32 k, uint32 epsilon, bytes memory x) internal view returns (bytes memory) {
        return tensorOp(LAYERNORM, Element.F32, m, k, 1, abi.encodePacked(_le(epsilon)), x);
    }

    /// @notice Place of the greatest element of each of m rows of k, as i32; the first of equals.
    function argmax(Element element, uint32 m, uint32 k, bytes memory x) internal view returns (bytes memory) {
        return tensorOp(ARGMAX, element, m, k, 1, "", x);
    }

    /// @notice f32 to i8: round(x / scale) + zero point, saturated. `scale` is the bits of an f32.
    function quantise(uint32 m, uint32 k, uint32 scale, int32 zeroPoint, bytes memory x) internal view returns (bytes memory) {
        return tensorOp(QUANTISE, Element.F32, m, k, 1, abi.encodePacked(_le(scale), _le(uint32(zeroPoint))), x);
    }

    /// @notice i8 or i32 to f32: (x - zero point) * scale. `scale` is the bits of an f32.
    function dequantise(Element element, uint32 m, uint32 k, uint32 scale, int32 zeroPoint, bytes memory x)
        internal
        view
        returns (bytes memory)
    {
        return tensorOp(DEQUANTISE, element, m, k, 1, abi.encodePacked(_le(scale), _le(uint32(zeroPoint))), x);
    }

    /// @notice TENSOR_OP with any header.
    function tensorOp(uint8 op, Element element, uint32 m, uint32 k, uint32 n, bytes memory parameters, bytes memory operands)
        internal
        view
        returns (bytes memory)
    {
        bytes memory header = abi.encodePacked(op, uint8(element), uint16(0), _le(m), _le(k), _le(n));
        return _read(TENSOR_OP, abi.encodePacked(header, parameters, operands));
    }

    /// @notice MODEL_LOAD: what a model costs and takes.
    function load(bytes32 modelId) internal view returns (uint64 gas_, uint64 inputBytes, uint64 outputBytes) {
        return LatticeModels.load(modelId);
    }

    /// @notice MODEL_EXEC: runs a model; raw tensors in, raw tensors out.
    function exec(bytes32 modelId, bytes memory input) internal view returns (bytes memory) {
        return LatticeModels.exec(modelId, input);
    }

    /// @notice ZK_PROVE: asks for a proof of an inference and escrows `fee` wei of this contract for the prover.
    /// @param inputHash keccak256 of the raw input tensors.
    /// @param expiryBlocks life of the request; after it the fee returns to this contract as plain balance.
    function requestProof(bytes32 modelId, bytes32 inputHash, uint64 expiryBlocks, uint256 fee) internal returns (bytes32 id) {
        return abi.decode(_write(ZK_PROVE, fee, abi.encode(modelId, inputHash, uint256(expiryBlocks))), (bytes32));
    }

    /// @notice ZK_PROVE: what became of a request.
    /// @return status Pending, Ok or Expired.
    /// @return fee wei for the prover.
    /// @return expires first block in which the request is expired.
    /// @return output the proven output when the status is Ok, empty otherwise.
    function proofStatus(bytes32 id)
        internal
        view
        returns (ProofStatus status, uint256 fee, uint64 expires, bytes memory output)
    {
        bytes memory answer = _read(ZK_PROVE, abi.encode(id));
        (uint256 code, uint256 fee_, uint256 expires_) = abi.decode(answer, (uint256, uint256, uint256));
        (status, fee, expires) = (ProofStatus(code), fee_, uint64(expires_));
        output = new bytes(answer.length - 96);
        for (uint256 i = 0; i < output.length; ++i) output[i] = answer[96 + i];
    }

    /// @notice ZK_VERIFY: settles a request by a proof and pays its fee to `payee`.
    /// @param proofHash keccak256 of the proof, which travels beside the block's transactions.
    /// @param proofBytes its length.
    /// @param output the raw output tensors that the proof is about.
    function settleProof(bytes32 id, address payee, bytes32 proofHash, uint256 proofBytes, bytes memory output) internal {
        _write(ZK_VERIFY, 0, abi.encodePacked(id, abi.encode(payee, proofHash, proofBytes), output));
    }

    /// @notice INFERENCE: runs a model, records keccak256 of the output and logs it.
    function infer(bytes32 modelId, bytes memory input) internal returns (bytes memory output) {
        return _write(INFERENCE, 0, _inference(modelId, 0, input));
    }

    /// @notice INFERENCE with the grade *proof*: nothing runs, a request for a proof is opened with `fee` in escrow.
    function inferByProof(bytes32 modelId, bytes memory input, uint256 fee) internal returns (bytes32 id) {
        return abi.decode(_write(INFERENCE, fee, _inference(modelId, 1, input)), (bytes32));
    }

    /// @notice MODELS: any registry operation by its RLP payload (see docs/spec/ai-precompiles.md).
    function models(bytes memory payload) internal returns (bytes memory) {
        return _write(MODELS, 0, payload);
    }

    /// @notice TRAINING: any operation on a job by its RLP payload; an order's value is the reward, a completion's the bond.
    /// The answer is the id of a new job, empty otherwise.
    function training(bytes memory payload, uint256 value) internal returns (bytes memory) {
        return _send(TRAINING, value, bytes.concat(hex"53", payload));
    }

    /// @notice TRAINING: has every validator judge what a job's trainer lied about (see docs/spec/training.md). When he did,
    /// this contract gets half of his bond; when he did not, it reverts.
    /// @param plan the job's description.
    /// @param from the step at which the opened part of the trace begins.
    function challengeTraining(bytes32 jobId, bytes memory plan, uint64 from, bytes memory opening) internal {
        bytes memory body = bytes.concat(hex"a0", jobId, _string(plan), _number(from), _string(opening));
        training(_list(bytes.concat(hex"06", _list(body))), 0);
    }

    /// @notice INFERENCE: has every validator judge one operator of a traced answer, likewise.
    function challengeOperator(bytes32 requestId, bytes memory opening) internal {
        _send(INFERENCE, 0, bytes.concat(hex"05", _list(bytes.concat(hex"a0", requestId, _string(opening)))));
    }

    /// RLP of a list's encoded items.
    function _list(bytes memory items) private pure returns (bytes memory) {
        return bytes.concat(_head(0xc0, items.length), items);
    }

    /// RLP of bytes.
    function _string(bytes memory data) private pure returns (bytes memory) {
        return data.length == 1 && uint8(data[0]) < 0x80 ? data : bytes.concat(_head(0x80, data.length), data);
    }

    /// RLP of a number: its bytes without leading zeros.
    function _number(uint64 value) private pure returns (bytes memory) {
        uint256 length = 0;
        for (uint64 rest = value; rest > 0; rest >>= 8) ++length;
        bytes memory digits = new bytes(length);
        for (uint256 i = 0; i < length; ++i) digits[i] = bytes1(uint8(value >> (8 * (length - 1 - i))));
        return _string(digits);
    }

    /// RLP of `[modelId, grade, input]`.
    function _inference(bytes32 modelId, uint8 grade, bytes memory input) private pure returns (bytes memory) {
        // 33 bytes of the id, one of the grade: 0 is the empty string.
        return _list(abi.encodePacked(uint8(0xa0), modelId, grade == 0 ? uint8(0x80) : grade, _string(input)));
    }

    /// The head of an RLP string (0x80) or list (0xc0).
    function _head(uint8 kind, uint256 length) private pure returns (bytes memory) {
        if (length < 56) return abi.encodePacked(uint8(kind + length));
        if (length < 0x100) return abi.encodePacked(kind + 56, uint8(length));
        if (length < 0x10000) return abi.encodePacked(kind + 57, uint16(length));
        if (length >= 0x1000000) revert TooLong(length);
        return abi.encodePacked(kind + 58, uint24(length));
    }

    function _le(uint32 value) private pure returns (bytes4) {
        value = ((value & 0x00ff00ff) << 8) | ((value >> 8) & 0x00ff00ff);
        return bytes4((value << 16) | (value >> 16));
    }

    function _read(address door, bytes memory data) private view returns (bytes memory answer) {
        bool ok;
        (ok, answer) = door.staticcall(data);
        if (!ok || answer.length == 0) _fail(door, answer);
    }

    function _write(address door, uint256 value, bytes memory data) private returns (bytes memory answer) {
        answer = _send(door, value, data);
        if (answer.length == 0) _fail(door, answer);
    }

    /// As `_write`, for operations that may answer nothing.
    function _send(address door, uint256 value, bytes memory data) private returns (bytes memory answer) {
        bool ok;
        (ok, answer) = door.call{value: value}(data);
        if (!ok) _fail(door, answer);
    }

    function _fail(address door, bytes memory answer) private pure {
        if (answer.length == 0) revert OperationFailed(door);
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }
}
