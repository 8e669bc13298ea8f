// SPDX-License-Identifier: Apache-2.0
// Simulation models of Gowin's block RAM, which Yosys has only as black boxes.
// Model not silicon-verified: written after Yosys' mapping gowin/brams_map.v and Gowin's UG285.

// Block RAM without output registers. SP: one port. SDP: A writes, B reads. DP: two ports.
// The cells of eight bits to a byte (without X9) have the parity bits 0.
`define GOWIN_INIT(WIDTH) \
	parameter [WIDTH-1:0] INIT_RAM_00 = 0; parameter [WIDTH-1:0] INIT_RAM_01 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_02 = 0; parameter [WIDTH-1:0] INIT_RAM_03 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_04 = 0; parameter [WIDTH-1:0] INIT_RAM_05 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_06 = 0; parameter [WIDTH-1:0] INIT_RAM_07 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_08 = 0; parameter [WIDTH-1:0] INIT_RAM_09 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_0A = 0; parameter [WIDTH-1:0] INIT_RAM_0B = 0; \
	parameter [WIDTH-1:0] INIT_RAM_0C = 0; parameter [WIDTH-1:0] INIT_RAM_0D = 0; \
	parameter [WIDTH-1:0] INIT_RAM_0E = 0; parameter [WIDTH-1:0] INIT_RAM_0F = 0; \
	parameter [WIDTH-1:0] INIT_RAM_10 = 0; parameter [WIDTH-1:0] INIT_RAM_11 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_12 = 0; parameter [WIDTH-1:0] INIT_RAM_13 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_14 = 0; parameter [WIDTH-1:0] INIT_RAM_15 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_16 = 0; parameter [WIDTH-1:0] INIT_RAM_17 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_18 = 0; parameter [WIDTH-1:0] INIT_RAM_19 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_1A = 0; parameter [WIDTH-1:0] INIT_RAM_1B = 0; \
	parameter [WIDTH-1:0] INIT_RAM_1C = 0; parameter [WIDTH-1:0] INIT_RAM_1D = 0; \
	parameter [WIDTH-1:0] INIT_RAM_1E = 0; parameter [WIDTH-1:0] INIT_RAM_1F = 0; \
	parameter [WIDTH-1:0] INIT_RAM_20 = 0; parameter [WIDTH-1:0] INIT_RAM_21 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_22 = 0; parameter [WIDTH-1:0] INIT_RAM_23 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_24 = 0; parameter [WIDTH-1:0] INIT_RAM_25 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_26 = 0; parameter [WIDTH-1:0] INIT_RAM_27 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_28 = 0; parameter [WIDTH-1:0] INIT_RAM_29 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_2A = 0; parameter [WIDTH-1:0] INIT_RAM_2B = 0; \
	parameter [WIDTH-1:0] INIT_RAM_2C = 0; parameter [WIDTH-1:0] INIT_RAM_2D = 0; \
	parameter [WIDTH-1:0] INIT_RAM_2E = 0; parameter [WIDTH-1:0] INIT_RAM_2F = 0; \
	parameter [WIDTH-1:0] INIT_RAM_30 = 0; parameter [WIDTH-1:0] INIT_RAM_31 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_32 = 0; parameter [WIDTH-1:0] INIT_RAM_33 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_34 = 0; parameter [WIDTH-1:0] INIT_RAM_35 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_36 = 0; parameter [WIDTH-1:0] INIT_RAM_37 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_38 = 0; parameter [WIDTH-1:0] INIT_RAM_39 = 0; \
	parameter [WIDTH-1:0] INIT_RAM_3A = 0; parameter [WIDTH-1:0] INIT_RAM_3B = 0; \
	parameter [WIDTH-1:0] INIT_RAM_3C = 0; parameter [WIDTH-1:0] INIT_RAM_3D = 0; \
	parameter [WIDTH-1:0] INIT_RAM_3E = 0; parameter [WIDTH-1:0] INIT_RAM_3F = 0; \
	localparam [64*WIDTH-1:0] INIT = { \
		INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39, \
		INIT_RAM_38, INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, INIT_RAM_33, INIT_RAM_32, \
		INIT_RAM_31, INIT_RAM_30, INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B, \
		INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24, \
		INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20, INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D, \
		INIT_RAM_1C, INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, INIT_RAM_17, INIT_RAM_16, \
		INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, INIT_RAM_0F, \
		INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08, \
		INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, INIT_RAM_03, INIT_RAM_02, INIT_RAM_01, \
		INIT_RAM_00};

module GOWIN_SP (output [31:0] DO, input [31:0] DI, input [2:0] BLKSEL, input [13:0] AD,
              input WRE, CLK, CE, OCE, RESET);
	parameter READ_MODE = 1'b0;
	parameter WRITE_MODE = 2'b00;
	parameter BIT_WIDTH = 32;
	parameter BLK_SEL = 3'b000;
	parameter RESET_MODE = "SYNC";
	`GOWIN_INIT(256)
	GOWIN_BSRAM #(.BYTE(8), .WIDTH_A(BIT_WIDTH), .WIDTH_B(1), .MODE_A(WRITE_MODE),
		.RESET_MODE(RESET_MODE), .PLAIN(!READ_MODE), .INIT(INIT)) ram (
		.CLKA(CLK), .CEA(CE && BLKSEL == BLK_SEL), .WREA(WRE), .RESETA(RESET), .ADA(AD), .DIA(DI),
		.DOA(DO), .CLKB(1'b0), .CEB(1'b0), .WREB(1'b0), .RESETB(1'b0), .ADB(14'd0),
		.DIB(32'd0), .DOB());
endmodule

module GOWIN_SPX9 (output [35:0] DO, input [35:0] DI, input [2:0] BLKSEL, input [13:0] AD,
              input WRE, CLK, CE, OCE, RESET);
	parameter READ_MODE = 1'b0;
	parameter WRITE_MODE = 2'b00;
	parameter BIT_WIDTH = 36;
	parameter BLK_SEL = 3'b000;
	parameter RESET_MODE = "SYNC";
	`GOWIN_INIT(288)
	GOWIN_BSRAM #(.BYTE(9), .WIDTH_A(BIT_WIDTH), .WIDTH_B(1), .MODE_A(WRITE_MODE),
		.RESET_MODE(RESET_MODE), .PLAIN(!READ_MODE), .INIT(INIT)) ram (
		.CLKA(CLK), .CEA(CE && BLKSEL == BLK_SEL), .WREA(WRE), .RESETA(RESET), .ADA(AD), .DIA(DI),
		.DOA(DO), .CLKB(1'b0), .CEB(1'b0), .WREB(1'b0), .RESETB(1'b0), .ADB(14'd0),
		.DIB(36'd0), .DOB());
endmodule

module SDPB (input CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB, input [13:0] ADA, ADB,
             input [2:0] BLKSELA, BLKSELB, input [31:0] DI, output [31:0] DO);
	parameter READ_MODE = 1'b0;
	parameter BIT_WIDTH_0 = 32;
	parameter BIT_WIDTH_1 = 32;
	parameter BLK_SEL_0 = 3'b000;
	parameter BLK_SEL_1 = 3'b000;
	parameter RESET_MODE = "SYNC";
	`GOWIN_INIT(256)
	GOWIN_BSRAM #(.BYTE(8), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1),
		.RESET_MODE(RESET_MODE), .PLAIN(!READ_MODE), .INIT(INIT)) ram (
		.CLKA(CLKA), .CEA(CEA && BLKSELA == BLK_SEL_0), .WREA(1'b1), .RESETA(RESETA), .ADA(ADA),
		.DIA(DI), .DOA(), .CLKB(CLKB), .CEB(CEB && BLKSELB == BLK_SEL_1), .WREB(1'b0),
		.RESETB(RESETB), .ADB(ADB), .DIB(32'd0), .DOB(DO));
endmodule

module SDPX9B (input CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB, input [13:0] ADA, ADB,
             input [2:0] BLKSELA, BLKSELB, input [35:0] DI, output [35:0] DO);
	parameter READ_MODE = 1'b0;
	parameter BIT_WIDTH_0 = 36;
	parameter BIT_WIDTH_1 = 36;
	parameter BLK_SEL_0 = 3'b000;
	parameter BLK_SEL_1 = 3'b000;
	parameter RESET_MODE = "SYNC";
	`GOWIN_INIT(288)
	GOWIN_BSRAM #(.BYTE(9), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1),
		.RESET_MODE(RESET_MODE), .PLAIN(!READ_MODE), .INIT(INIT)) ram (
		.CLKA(CLKA), .CEA(CEA && BLKSELA == BLK_SEL_0), .WREA(1'b1), .RESETA(RESETA), .ADA(ADA),
		.DIA(DI), .DOA(), .CLKB(CLKB), .CEB(CEB && BLKSELB == BLK_SEL_1), .WREB(1'b0),
		.RESETB(RESETB), .ADB(ADB), .DIB(36'd0), .DOB(DO));
endmodule

module DPB (input CLKA, CEA, CLKB, CEB, OCEA, OCEB, RESETA, RESETB, WREA, WREB,
            input [13:0] ADA, ADB, input [2:0] BLKSELA, BLKSELB, input [15:0] DIA, DIB,
            output [15:0] DOA, DOB);
	parameter READ_MODE0 = 1'b0;
	parameter READ_MODE1 = 1'b0;
	parameter WRITE_MODE0 = 2'b00;
	parameter WRITE_MODE1 = 2'b00;
	parameter BIT_WIDTH_0 = 16;
	parameter BIT_WIDTH_1 = 16;
	parameter BLK_SEL_0 = 3'b000;
	parameter BLK_SEL_1 = 3'b000;
	parameter RESET_MODE = "SYNC";
	`GOWIN_INIT(256)
	wire [15:0] none_a, none_b;
	GOWIN_BSRAM #(.BYTE(8), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .MODE_A(WRITE_MODE0),
		.MODE_B(WRITE_MODE1), .RESET_MODE(RESET_MODE), .PLAIN(!READ_MODE0 && !READ_MODE1),
		.INIT(INIT)) ram (
		.CLKA(CLKA), .CEA(CEA && BLKSELA == BLK_SEL_0), .WREA(WREA), .RESETA(RESETA), .ADA(ADA),
		.DIA({16'd0, DIA}), .DOA({none_a, DOA}), .CLKB(CLKB), .CEB(CEB && BLKSELB == BLK_SEL_1),
		.WREB(WREB), .RESETB(RESETB), .ADB(ADB), .DIB({16'd0, DIB}), .DOB({none_b, DOB}));
endmodule

module DPX9B (input CLKA, CEA, CLKB, CEB, OCEA, OCEB, RESETA, RESETB, WREA, WREB,
            input [13:0] ADA, ADB, input [2:0] BLKSELA, BLKSELB, input [17:0] DIA, DIB,
            output [17:0] DOA, DOB);
	parameter READ_MODE0 = 1'b0;
	parameter READ_MODE1 = 1'b0;
	parameter WRITE_MODE0 = 2'b00;
	parameter WRITE_MODE1 = 2'b00;
	parameter BIT_WIDTH_0 = 18;
	parameter BIT_WIDTH_1 = 18;
	parameter BLK_SEL_0 = 3'b000;
	parameter BLK_SEL_1 = 3'b000;
	parameter RESET_MODE = "SYNC";
	`GOWIN_INIT(288)
	wire [17:0] none_a, none_b;
	GOWIN_BSRAM #(.BYTE(9), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .MODE_A(WRITE_MODE0),
		.MODE_B(WRITE_MODE1), .RESET_MODE(RESET_MODE), .PLAIN(!READ_MODE0 && !READ_MODE1),
		.INIT(INIT)) ram (
		.CLKA(CLKA), .CEA(CEA && BLKSELA == BLK_SEL_0), .WREA(WREA), .RESETA(RESETA), .ADA(ADA),
		.DIA({18'd0, DIA}), .DOA({none_a, DOA}), .CLKB(CLKB), .CEB(CEB && BLKSELB == BLK_SEL_1),
		.WREB(WREB), .RESETB(RESETB), .ADB(ADB), .DIB({18'd0, DIB}), .DOB({none_b, DOB}));
endmodule

// Two ports on 512 words of four bytes. A read of bits that the other port writes at the same edge,
// which Gowin leaves undefined, gives the complement of the old bits, so that a design relying on
// it shows up.
module GOWIN_BSRAM (CLKA, CEA, WREA, RESETA, ADA, DIA, DOA, CLKB, CEB, WREB, RESETB, ADB, DIB, DOB);
	parameter BYTE = 9;
	parameter WIDTH_A = 36;
	parameter WIDTH_B = 36;
	parameter MODE_A = 0;
	parameter MODE_B = 0;
	parameter RESET_MODE = "SYNC";
	parameter PLAIN = 1;
	parameter [2048*BYTE-1:0] INIT = 0;
	localparam WORD = 4 * BYTE;
	input CLKA, CEA, WREA, RESETA, CLKB, CEB, WREB, RESETB;
	input [13:0] ADA, ADB;
	input [WORD-1:0] DIA, DIB;
	output [WORD-1:0] DOA, DOB;

	generate
		if (!PLAIN) $error("BSRAM: output registers are not modelled");
	endgenerate

	reg [WORD-1:0] words [0:511];
	integer i;
	initial for (i = 0; i < 512; i = i + 1) words[i] = INIT[WORD*i +: WORD];

	wire [WORD-1:0] mask_a, data_a, read_a;
	wire write_a = CEA & WREA;
	wire [WORD-1:0] old_a = words[ADA[13:5]];
	wire [WORD-1:0] clash_a = ADA[13:5] == ADB[13:5] ? mask_b : {WORD{1'b0}};
	wire [WORD-1:0] seen_a = write_a && MODE_A == 1
		? old_a & ~mask_a | data_a & mask_a : old_a ^ clash_a;
	GOWIN_BSRAM_PORT #(.BYTE(BYTE), .WIDTH(WIDTH_A)) port_a (.address(ADA[4:0]), .write(write_a),
		.in(DIA), .word(seen_a), .mask(mask_a), .data(data_a), .out(read_a));
	wire show_a = CEA & (~WREA | MODE_A != 0);
	always @(posedge CLKA)
		if (write_a) words[ADA[13:5]] <= old_a & ~mask_a & ~clash_a
			| data_a & mask_a | data_b & clash_a;
	reg [WORD-1:0] out_a = 0;
	generate
		if (RESET_MODE == "ASYNC") begin
			always @(posedge CLKA, posedge RESETA)
				if (RESETA) out_a <= 0; else if (show_a) out_a <= read_a;
		end else begin
			always @(posedge CLKA)
				if (RESETA) out_a <= 0; else if (show_a) out_a <= read_a;
		end
	endgenerate
	assign DOA = out_a;

	wire [WORD-1:0] mask_b, data_b, read_b;
	wire write_b = CEB & WREB;
	wire [WORD-1:0] old_b = words[ADB[13:5]];
	wire [WORD-1:0] clash_b = ADB[13:5] == ADA[13:5] ? mask_a : {WORD{1'b0}};
	wire [WORD-1:0] seen_b = write_b && MODE_B == 1
		? old_b & ~mask_b | data_b & mask_b : old_b ^ clash_b;
	GOWIN_BSRAM_PORT #(.BYTE(BYTE), .WIDTH(WIDTH_B)) port_b (.address(ADB[4:0]), .write(write_b),
		.in(DIB), .word(seen_b), .mask(mask_b), .data(data_b), .out(read_b));
	wire show_b = CEB & (~WREB | MODE_B != 0);
	always @(posedge CLKB)
		if (write_b) words[ADB[13:5]] <= old_b & ~mask_b & ~clash_b
			| data_b & mask_b | data_a & clash_b;
	reg [WORD-1:0] out_b = 0;
	generate
		if (RESET_MODE == "ASYNC") begin
			always @(posedge CLKB, posedge RESETB)
				if (RESETB) out_b <= 0; else if (show_b) out_b <= read_b;
		end else begin
			always @(posedge CLKB)
				if (RESETB) out_b <= 0; else if (show_b) out_b <= read_b;
		end
	endgenerate
	assign DOB = out_b;
endmodule

// One port: WIDTH bits within a word.
module GOWIN_BSRAM_PORT (address, write, in, word, mask, data, out);
	parameter BYTE = 9;
	parameter WIDTH = 36;
	localparam WORD = 4 * BYTE;
	localparam [5:0] UNIT = WIDTH > 8 ? WIDTH / BYTE * 8 : WIDTH;
	localparam [WORD-1:0] ONES = {WORD{1'b1}} >> (WORD - WIDTH);
	input [4:0] address;
	input write;
	input [WORD-1:0] in, word;
	output [WORD-1:0] mask, data, out;

	// The wide ports have byte enables on the address bits that they do not need.
	wire [3:0] enable = UNIT == 32 ? address[3:0] : UNIT == 16 ? {2'b00, address[1:0]} : 4'hf;
	wire [WORD-1:0] enables = {{BYTE{enable[3]}}, {BYTE{enable[2]}}, {BYTE{enable[1]}},
		{BYTE{enable[0]}}};
	wire [4:0] first = address & ~(UNIT[4:0] - 5'd1);
	wire [5:0] shift = 6'd2 * BYTE * first[4] + BYTE * first[3] + {3'd0, first[2:0]};

	assign mask = write ? (ONES & enables) << shift : {WORD{1'b0}};
	assign data = in << shift;
	assign out = word >> shift & ONES;
endmodule
