// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @title Calls to the models of the chain.
/// @notice Two precompiles serve ordinary contracts: MODEL_LOAD asks what a model takes and costs, MODEL_EXEC runs it.
/// Both only read, so they work inside `view` functions and behind `eth_call`. Running a model burns the gas that
/// `load` reports, whether or not the node has seen the same input before.
/// Tensors travel as their raw elements, row-major and little-endian, without a header: the model fixes the shapes.
library LatticeModels {
    address internal constant MODEL_LOAD = address(0xa1f1);
    address internal constant MODEL_EXEC = address(0xa1f2);

    /// The precompile failed without a reason of its own: the model is unknown or not active, the input has the wrong
    /// length, or the gas ran out.
    error ModelCallFailed(bytes32 modelId);
    /// The chain answered nothing: it has no model engine at this address.
    error NoModelEngine();
    /// `data` holds no 32-bit word at `index`.
    error OutOfBounds(uint256 index, uint256 length);

    /// @notice Runs a model.
    /// @param modelId hash of the frozen graph.
    /// @param input all input tensors in the graph's order, one after another.
    /// @return output all output tensors in the graph's order, one after another.
    function exec(bytes32 modelId, bytes memory input) internal view returns (bytes memory output) {
        return _call(MODEL_EXEC, modelId, abi.encodePacked(modelId, input));
    }

    /// @notice What a model costs and how long its input and output are. Reverts when it cannot be run now.
    /// @return gas_ gas that one `exec` burns, beyond the call itself.
    /// @return inputBytes length of `exec`'s input.
    /// @return outputBytes length of `exec`'s output.
    function load(bytes32 modelId) internal view returns (uint64 gas_, uint64 inputBytes, uint64 outputBytes) {
        bytes memory answer = _call(MODEL_LOAD, modelId, abi.encodePacked(modelId));
        // The first word is a handle for AI containers; a contract names models by their id.
        (, gas_, inputBytes, outputBytes) = abi.decode(answer, (uint256, uint64, uint64, uint64));
    }

    /// @notice The `index`-th 32-bit element of a tensor: the bits of an f32, or an i32 in two's complement.
    function word(bytes memory data, uint256 index) internal pure returns (uint32) {
        // Divided, not multiplied: `index` may be anything.
        if (index >= data.length / 4) revert OutOfBounds(index, data.length);
        return _word(data, index);
    }

    /// @notice Place of the greatest f32 in a tensor; the first of equals, as `numpy.argmax` has it.
    /// @dev Integers only: a contract has no floats, and the order of finite floats is the order of their bits once
    /// negative ones are flipped. Both zeros are equal. A NaN is never the greatest; a tensor of nothing but NaNs, or
    /// an empty one, gives 0. Bytes beyond the last whole element are ignored.
    function argmaxF32(bytes memory data) internal pure returns (uint256 best) {
        uint256 count = data.length / 4;
        uint32 greatest = 0; // below every rank, since only a NaN would rank here
        for (uint256 i = 0; i < count; ++i) {
            uint32 rank = _rank(_word(data, i));
            if (rank > greatest) {
                greatest = rank;
                best = i;
            }
        }
    }

    /// Maps the bits of an f32 to an integer of the same order: 0 for a NaN, at least 1 for a number.
    function _rank(uint32 bits) private pure returns (uint32) {
        uint32 magnitude = bits & 0x7fffffff;
        if (magnitude > 0x7f800000) return 0;
        // Minus zero has magnitude 0 and so meets plus zero in the middle.
        return bits >> 31 == 0 ? 0x80000000 + magnitude : 0x80000000 - magnitude;
    }

    function _word(bytes memory data, uint256 index) private pure returns (uint32 bits) {
        assembly ("memory-safe") {
            bits := shr(224, mload(add(add(data, 32), mul(index, 4))))
        }
        bits = ((bits & 0x00ff00ff) << 8) | ((bits >> 8) & 0x00ff00ff);
        bits = (bits << 16) | (bits >> 16);
    }

    function _call(address engine, bytes32 modelId, bytes memory data) private view returns (bytes memory answer) {
        bool ok;
        (ok, answer) = engine.staticcall(data);
        if (ok) {
            if (answer.length == 0) revert NoModelEngine();
            return answer;
        }
        if (answer.length == 0) revert ModelCallFailed(modelId);
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }
}
