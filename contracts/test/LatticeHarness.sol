// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {Lattice} from "../src/Lattice.sol";

/// @title Opens the library's internal functions to tests.
contract LatticeHarness {
    receive() external payable {}

    function add(Lattice.Element e, uint32 m, uint32 k, bytes calldata a, bytes calldata b) external view returns (bytes memory) {
        return Lattice.add(e, m, k, a, b);
    }

    function mul(Lattice.Element e, uint32 m, uint32 k, bytes calldata a, bytes calldata b) external view returns (bytes memory) {
        return Lattice.mul(e, m, k, a, b);
    }

    function matmul(Lattice.Element e, uint32 m, uint32 k, uint32 n, bytes calldata a, bytes calldata b)
        external
        view
        returns (bytes memory)
    {
        return Lattice.matmul(e, m, k, n, a, b);
    }

    function dot(Lattice.Element e, uint32 m, uint32 k, bytes calldata a, bytes calldata b) external view returns (bytes memory) {
        return Lattice.dot(e, m, k, a, b);
    }

    function relu(Lattice.Element e, uint32 m, uint32 k, bytes calldata x) external view returns (bytes memory) {
        return Lattice.relu(e, m, k, x);
    }

    function softmax(uint32 m, uint32 k, bytes calldata x) external view returns (bytes memory) {
        return Lattice.softmax(m, k, x);
    }

    function layernorm(uint32 m, uint32 k, uint32 epsilon, bytes calldata x) external view returns (bytes memory) {
        return Lattice.layernorm(m, k, epsilon, x);
    }

    function argmax(Lattice.Element e, uint32 m, uint32 k, bytes calldata x) external view returns (bytes memory) {
        return Lattice.argmax(e, m, k, x);
    }

    function quantise(uint32 m, uint32 k, uint32 scale, int32 zero, bytes calldata x) external view returns (bytes memory) {
        return Lattice.quantise(m, k, scale, zero, x);
    }

    function dequantise(Lattice.Element e, uint32 m, uint32 k, uint32 scale, int32 zero, bytes calldata x)
        external
        view
        returns (bytes memory)
    {
        return Lattice.dequantise(e, m, k, scale, zero, x);
    }

    function load(bytes32 modelId) external view returns (uint64, uint64, uint64) {
        return Lattice.load(modelId);
    }

    function exec(bytes32 modelId, bytes calldata input) external view returns (bytes memory) {
        return Lattice.exec(modelId, input);
    }

    function requestProof(bytes32 modelId, bytes32 inputHash, uint64 expiryBlocks) external payable returns (bytes32) {
        return Lattice.requestProof(modelId, inputHash, expiryBlocks, msg.value);
    }

    function proofStatus(bytes32 id) external view returns (Lattice.ProofStatus, uint256, uint64, bytes memory) {
        return Lattice.proofStatus(id);
    }

    function settleProof(bytes32 id, address payee, bytes32 proofHash, uint256 proofBytes, bytes calldata output) external {
        Lattice.settleProof(id, payee, proofHash, proofBytes, output);
    }

    function infer(bytes32 modelId, bytes calldata input) external returns (bytes memory) {
        return Lattice.infer(modelId, input);
    }

    function inferByProof(bytes32 modelId, bytes calldata input) external payable returns (bytes32) {
        return Lattice.inferByProof(modelId, input, msg.value);
    }

    function training(bytes calldata payload) external payable returns (bytes memory) {
        return Lattice.training(payload, msg.value);
    }

    function challengeTraining(bytes32 jobId, bytes calldata plan, uint64 from, bytes calldata opening) external {
        Lattice.challengeTraining(jobId, plan, from, opening);
    }

    function challengeOperator(bytes32 requestId, bytes calldata opening) external {
        Lattice.challengeOperator(requestId, opening);
    }

    function models(bytes calldata payload) external returns (bytes memory) {
        return Lattice.models(payload);
    }
}
